-- shapes.sql: tables and histories that change their shape; what can't be kept is refused at the first write (CORE 13, 15, test 13; ENGINEERING 2e, 2g)
-- In a database of its own, so that every id is the same in every run.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_shapes;
CREATE DATABASE regress_pipelines_shapes TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_shapes
\i test/data/checks.sql
\set ECHO all
SELECT pipelines.create_pipeline('Sales', stages => '["New", "Quote", "Demo", {"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}]');
SELECT pipelines.create_deals('deals');
INSERT INTO deals (deal_id, amount) SELECT g, g FROM generate_series(1, 9) g;
CREATE FUNCTION drop_views(relation text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	v regclass;
BEGIN
	FOR v IN SELECT oid FROM pg_class WHERE relkind = 'v' AND relname LIKE relation || '\_%' LOOP
		EXECUTE format('DROP VIEW %s CASCADE', v);
	END LOOP;
END
$$;
SET client_min_messages = warning;
-- a plan that is kept over all that follows
PREPARE moves(bigint, integer) AS UPDATE deals SET stage_id = $2 WHERE deal_id = $1;
CREATE FUNCTION moves(id bigint, stage integer) RETURNS void LANGUAGE plpgsql AS 'BEGIN UPDATE deals SET stage_id = stage WHERE deal_id = id; END';
EXECUTE moves(1, 2);
SELECT moves(2, 2);

--
-- Renames: the mapping follows (ENGINEERING 0.9, CORE 15)
--
ALTER TABLE deals RENAME COLUMN stage_id TO state;
ALTER TABLE deals RENAME COLUMN amount TO worth;
ALTER TABLE deals RENAME COLUMN version TO rev;
ALTER TABLE deals RENAME COLUMN deal_id TO id;
UPDATE deals SET state = 2, worth = 30 WHERE id = 3;
UPDATE deals SET worth = 31 WHERE id = 3;
SELECT try('UPDATE deals SET state = 99 WHERE id = 3');
SELECT try('UPDATE deals SET id = 99 WHERE id = 3');
INSERT INTO deals (id, worth) VALUES (10, 1);
DELETE FROM deals WHERE id = 10;
INSERT INTO deals (id, worth) VALUES (10, 2);
SELECT deal_id, version, change, stage_id, to_stage_id, amount FROM deals_history WHERE deal_id IN (3, 10) ORDER BY 1, 2;
SELECT id, rev, state, worth FROM deals WHERE id IN (3, 10) ORDER BY 1;
-- rebuild_views() lets the history follow
SELECT count(*) > 0 AS renamed FROM pipelines.rebuild_views('deals');
UPDATE deals SET state = 3 WHERE id = 3;
SELECT id, version, change, state, to_stage_id, worth FROM deals_history WHERE id = 3 ORDER BY 2;
SELECT count(*) FROM pipelines.verify('deals');
ALTER TABLE deals RENAME TO opportunities;
ALTER TABLE deals_history RENAME TO past;
ALTER TABLE opportunities RENAME COLUMN state TO stage_id;
ALTER TABLE opportunities RENAME COLUMN worth TO amount;
ALTER TABLE opportunities RENAME COLUMN rev TO version;
ALTER TABLE opportunities RENAME COLUMN id TO deal_id;
UPDATE opportunities SET stage_id = 2 WHERE deal_id = 3;
SELECT count(*) FROM pipelines.verify('opportunities');
CREATE SCHEMA elsewhere;
ALTER TABLE opportunities SET SCHEMA elsewhere;
UPDATE elsewhere.opportunities SET stage_id = 3 WHERE deal_id = 3;
ALTER TABLE elsewhere.opportunities SET SCHEMA public;
ALTER TABLE opportunities RENAME TO deals;
ALTER TABLE past RENAME TO deals_history;
SELECT count(*) > 0 AS renamed FROM pipelines.rebuild_views('deals');
SELECT problems();
-- two columns that swap their names keep their parts
ALTER TABLE deals RENAME COLUMN owner TO x;
ALTER TABLE deals RENAME COLUMN source TO owner;
ALTER TABLE deals RENAME COLUMN x TO source;
UPDATE deals SET source = 'was owner', owner = 'was source' WHERE deal_id = 4;
UPDATE deals SET stage_id = 2 WHERE deal_id = 4;
SELECT version, owner, source FROM deals_history WHERE deal_id = 4 ORDER BY 1;		-- the history's own names: not swapped yet
ALTER TABLE deals RENAME COLUMN owner TO x;
ALTER TABLE deals RENAME COLUMN source TO owner;
ALTER TABLE deals RENAME COLUMN x TO source;

--
-- Drops and other types: what is mapped holds; a history without its column is an error with a hint
--
SELECT try('ALTER TABLE deals DROP COLUMN stage_id') ~ '^(2BP01|0A000)' AS refused;
SELECT try('ALTER TABLE deals DROP COLUMN amount') ~ '^(2BP01|0A000)' AS refused;
SELECT try('ALTER TABLE deals ALTER amount TYPE numeric(12, 2)') ~ '^(2BP01|0A000)' AS refused;
SELECT try('ALTER TABLE deals_history DROP COLUMN amount') ~ '^(2BP01|0A000)' AS refused;
SELECT drop_views('deals');
SELECT try('ALTER TABLE deals DROP COLUMN stage_id') ~ '^(2BP01|0A000)' AS refused;
SELECT try('ALTER TABLE deals ALTER amount TYPE numeric(12, 2)') ~ '^(2BP01|0A000)' AS refused;
SELECT pipelines.create_deals('cut');
INSERT INTO cut (deal_id) VALUES (1), (2);
SELECT drop_views('cut');
ALTER TABLE cut_history DROP COLUMN valid_to CASCADE;
SELECT try('UPDATE cut SET amount = 5');
SELECT try('INSERT INTO cut (deal_id) VALUES (3)');
ALTER TABLE cut_history ADD COLUMN valid_to date;
SELECT try('UPDATE cut SET amount = 5');
ALTER TABLE cut_history DROP COLUMN valid_to;
ALTER TABLE cut_history ADD COLUMN valid_to timestamptz NOT NULL;
SELECT count(*) >= 0 AS resumed FROM pipelines.resume('cut');
SELECT try('UPDATE cut SET amount = 5');
SELECT problems('cut');
-- a column of the history that the deals don't have
ALTER TABLE deals_history ADD COLUMN colour text;
SELECT try('UPDATE deals SET amount = 5 WHERE deal_id = 5');
SELECT try('DELETE FROM deals WHERE deal_id = 5');
-- one that they get then, is tracked from then on (DESIGN 2)
ALTER TABLE deals ADD COLUMN colour text DEFAULT 'red';
UPDATE deals SET amount = 6 WHERE deal_id = 5;
UPDATE deals SET colour = 'blue' WHERE deal_id = 5;
SELECT version, change, amount, colour FROM deals_history WHERE deal_id = 5 ORDER BY 1;
-- of another type: refused
ALTER TABLE deals_history ALTER colour TYPE integer USING NULL;
SELECT try('UPDATE deals SET amount = 7 WHERE deal_id = 5');
ALTER TABLE deals_history DROP COLUMN colour;
UPDATE deals SET amount = 7 WHERE deal_id = 5;
-- a column more in the history that must be filled, and nobody can fill it
ALTER TABLE deals_history ADD COLUMN note text;
ALTER TABLE deals ADD COLUMN note text;
ALTER TABLE deals_history ALTER note SET DEFAULT 'none', ADD CHECK (note IS NOT NULL OR version > 0);
UPDATE deals SET amount = 8 WHERE deal_id = 5;
ALTER TABLE deals_history ADD CONSTRAINT strict CHECK (note IS NOT NULL) NOT VALID;
SELECT try('UPDATE deals SET amount = 9 WHERE deal_id = 5');
ALTER TABLE deals_history DROP CONSTRAINT strict;
EXECUTE moves(1, 3);
SELECT moves(2, 3);
SELECT deal_id, life(deal_id::text) FROM deals WHERE deal_id IN (1, 2) ORDER BY 1;

--
-- track(): generated, enum, domain, array, wide and defaulted columns; columns that were dropped before them
--
SELECT pipelines.create_deals('wide');
SELECT drop_views('wide');
ALTER TABLE wide ADD COLUMN gone_1 text, ADD COLUMN gone_2 integer;
ALTER TABLE wide DROP COLUMN name, DROP COLUMN gone_1;
INSERT INTO wide (deal_id, amount, quantity) SELECT g, g, 2 FROM generate_series(1, 6) g;
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE DOMAIN score AS integer CHECK (VALUE >= 0);
ALTER TABLE wide ADD COLUMN mood mood DEFAULT 'good', ADD COLUMN score score DEFAULT 3, ADD COLUMN tags text[], ADD COLUMN body text,
	ADD COLUMN value numeric GENERATED ALWAYS AS (amount * quantity) STORED, ADD COLUMN code varchar(5) DEFAULT 'abc', ADD COLUMN point point, ADD COLUMN doc json;
ALTER TABLE wide DROP COLUMN gone_2;
SELECT pipelines.track('wide', c) FROM unnest('{mood,score,tags,body,value,code,point,doc}'::name[]) c;
SELECT try('SELECT pipelines.track(''wide'', ''mood'')') ~ '^42701' AS tracked_already;
SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a WHERE attrelid = 'wide_history'::regclass AND attname IN ('mood', 'score', 'tags', 'body', 'value', 'code', 'point', 'doc') ORDER BY 1;
UPDATE wide SET stage_id = 2 WHERE deal_id = 1;			-- columns that were added with a default, not in the row yet
UPDATE wide SET mood = 'bad', score = 4, tags = '{a,b}' WHERE deal_id = 2;
UPDATE wide SET mood = 'bad', score = 4, tags = '{a,b}' WHERE deal_id = 2;
UPDATE wide SET quantity = 5 WHERE deal_id = 2;
UPDATE wide SET point = '(1,2)', doc = '{"a": 1}' WHERE deal_id = 3;
UPDATE wide SET point = '(1,2)', doc = '{"a": 1}' WHERE deal_id = 3;
UPDATE wide SET code = 'abcde' WHERE deal_id = 3;
SELECT deal_id, version, change, amount, value, mood, score, tags, code, point, doc FROM wide_history ORDER BY 1, 2;
SELECT deal_id, version, value, mood, score FROM wide WHERE deal_id < 4 ORDER BY 1;
-- toasted values: the same, another, none; gone from the deal, still in the history
UPDATE wide SET body = (SELECT string_agg(md5(g::text), '') FROM generate_series(1, 3000) g) WHERE deal_id IN (4, 5);
UPDATE wide SET body = body || '' WHERE deal_id = 4;
UPDATE wide SET amount = 40 WHERE deal_id IN (4, 5);
UPDATE wide SET body = 'short' WHERE deal_id IN (4, 5);
DELETE FROM wide WHERE deal_id = 5;
VACUUM wide;
SELECT deal_id, version, change, length(body), md5(body) = md5((SELECT string_agg(md5(g::text), '') FROM generate_series(1, 3000) g)) AS whole FROM wide_history WHERE deal_id IN (4, 5) ORDER BY 1, 2;
SELECT problems('wide');
-- a tracked column is dropped from the deals: the first write says so
SELECT drop_views('wide');
SELECT try('ALTER TABLE wide DROP COLUMN tags') ~ '^(2BP01|0A000)' AS refused;
DROP TRIGGER pipelines_columns ON wide;
ALTER TABLE wide DROP COLUMN tags;
SELECT try('UPDATE wide SET amount = 1 WHERE deal_id = 1');
SELECT count(*) > 0 AS resumed FROM pipelines.resume('wide');
SELECT try('UPDATE wide SET amount = 1 WHERE deal_id = 1');
ALTER TABLE wide_history DROP COLUMN tags CASCADE;
SELECT count(*) > 0 AS resumed FROM pipelines.resume('wide');
SELECT try('UPDATE wide SET amount = 1 WHERE deal_id = 1');
SELECT problems('wide');

--
-- Histories with more than what we made: everything holds (ENGINEERING 2g)
--
SELECT pipelines.create_deals('strict');
ALTER TABLE strict_history ADD CONSTRAINT no_thirteen CHECK (amount IS DISTINCT FROM 13);
INSERT INTO strict (deal_id, amount) SELECT g, 10 + g FROM generate_series(1, 6) g;
UPDATE strict SET stage_id = 2 WHERE deal_id < 3;
SELECT try('UPDATE strict SET stage_id = 2 WHERE deal_id = 3');
CREATE FUNCTION half(numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT $1 / 2';
ALTER TABLE strict_history DROP CONSTRAINT no_thirteen;
CREATE INDEX by_half ON strict_history (public.half(amount));
CREATE INDEX some_of_them ON strict_history (amount) WHERE change = 'move';
CREATE UNIQUE INDEX once ON strict_history (deal_id, stage_id, version);
UPDATE strict SET stage_id = 2 WHERE deal_id IN (3, 4);
SET enable_seqscan = off;
SELECT count(*) FROM strict_history WHERE public.half(amount) = 6.5;
SELECT count(*) FROM strict_history WHERE amount = 14 AND change = 'move';
RESET enable_seqscan;
ALTER TABLE strict_history ADD COLUMN doubled numeric GENERATED ALWAYS AS (amount * 2) STORED;
UPDATE strict SET stage_id = 3 WHERE deal_id = 4;
SELECT version, amount, doubled FROM strict_history WHERE deal_id = 4 ORDER BY 1;
-- triggers of its own
CREATE TABLE seen (deal_id bigint, v integer, who text);
CREATE FUNCTION sees() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.seen VALUES (NEW.deal_id, NEW.version, TG_WHEN); RETURN NEW; END';
CREATE TRIGGER sees_before BEFORE INSERT ON strict_history FOR EACH ROW EXECUTE FUNCTION sees();
CREATE TRIGGER sees_after AFTER INSERT ON strict_history FOR EACH ROW EXECUTE FUNCTION sees();
UPDATE strict SET amount = 0 WHERE deal_id IN (5, 6);
SELECT * FROM seen ORDER BY 1, 2, 3;
DROP TRIGGER sees_before ON strict_history;
DROP TRIGGER sees_after ON strict_history;
-- one that swallows rows: refused, for the history would have a gap (I7)
CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER swallow BEFORE INSERT ON strict_history FOR EACH ROW EXECUTE FUNCTION swallow();
SELECT try('UPDATE strict SET amount = 1 WHERE deal_id = 5') LIKE 'rows%' AS accepted;
DROP TRIGGER swallow ON strict_history;
-- an unlogged, clustered, or moved one
CREATE TABLE old_history AS TABLE strict_history;
ALTER TABLE strict_history DROP CONSTRAINT strict_history_pkey;
UPDATE strict SET amount = 2 WHERE deal_id = 6;
DELETE FROM strict WHERE deal_id = 6;
INSERT INTO strict (deal_id) VALUES (6);
SELECT version FROM strict WHERE deal_id = 6;
ALTER TABLE strict_history ADD PRIMARY KEY (deal_id, version);
SELECT problems('strict');
DROP TABLE strict_history CASCADE;
SELECT try('UPDATE strict SET amount = 3 WHERE deal_id = 1');

--
-- Inheritance: refused while there are children (triggers are not inherited)
--
CREATE TABLE child () INHERITS (deals);
SELECT try('UPDATE deals SET amount = 1 WHERE deal_id = 6');
SELECT try('INSERT INTO deals (deal_id) VALUES (61)');
ALTER TABLE child NO INHERIT deals;
SELECT try('UPDATE deals SET amount = 1 WHERE deal_id = 6');
CREATE TABLE child_2 () INHERITS (deals);
DROP TABLE child_2;
SELECT try('UPDATE deals SET amount = 2 WHERE deal_id = 6');
-- a deals table that inherits is one
CREATE TABLE base (region text);
ALTER TABLE deals ADD COLUMN region text;
ALTER TABLE deals INHERIT base;
UPDATE deals SET amount = 3 WHERE deal_id = 6;
UPDATE base SET region = 'north';
DELETE FROM base WHERE region IS NULL;
SELECT life('6');

--
-- Plans that were kept, once more
--
EXECUTE moves(1, 4);
SELECT moves(2, 4);
DEALLOCATE moves;
SELECT deal_id, life(deal_id::text) FROM deals WHERE deal_id IN (1, 2) ORDER BY 1;
-- (what deal 5 remembered of its colour was dropped above)
SELECT * FROM problems() WHERE deal <> '5';
\set ECHO none
\c :home
SET client_min_messages = warning;
DROP DATABASE regress_pipelines_shapes;
