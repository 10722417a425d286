-- load_order.sql: what was loaded before us must not come between us.  LLVM brings
-- libraries along that have functions of names that we have, too.
-- In a database of its own.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_load_order;
CREATE DATABASE regress_pipelines_load_order TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_load_order
SET client_min_messages = warning;
CREATE EXTENSION pipelines;
\set ECHO all
SELECT pipelines.create_pipeline('Sales', stages => '["Lead", "Talks"]');
SELECT pipelines.create_deals('deals');
INSERT INTO deals (name) VALUES ('a');
-- a session that compiles a query first, where the server can
\c
SET jit = on;
SET jit_above_cost = 0;
SELECT count(*) FROM generate_series(1, 3) n WHERE n > 1;
UPDATE deals SET stage_id = 2;
SELECT version, change FROM deals_history;
\set ECHO none
\c :home
DROP DATABASE regress_pipelines_load_order;
