-- Boards: S41, S98, S109, S111, S113; rows 1 and 9; as rows and as one document.
-- In a database of its own, so that every id is the same in every run.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_boards;
CREATE DATABASE regress_pipelines_boards TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_boards
\set ECHO all
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
CREATE EXTENSION pipelines;
CREATE FUNCTION try(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text; hint text; result text;
BEGIN
	EXECUTE command INTO result;
	RETURN coalesce(result, 'NULL');
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(' | ', SQLSTATE || ': ' || SQLERRM, nullif(detail, ''), nullif(hint, ''));
END
$$;
\pset format unaligned
\pset null -

SELECT pipelines.create_pipeline('Sales', time_zone => 'UTC', stages => '[
	{"name": "Lead", "probability": 10, "colour": "blue"}, {"name": "Demo", "probability": 30}, {"name": "Offer", "probability": 60},
	{"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}]');
SELECT pipelines.create_pipeline('Service', time_zone => 'UTC', stages => '[{"name": "Ticket"}, {"name": "Filed", "outcome": "done"}]');
SELECT pipelines.create_deals('deals', currency => 'EUR');
CREATE TABLE event (deal_id bigint, at timestamptz, pipeline text, stage text, amount numeric, owner text, currency text, product text);
INSERT INTO event VALUES
	(1, '2024-01-01', 'Sales', 'Lead', 100, 'ann', NULL, 'vans'), (2, '2024-01-02', 'Sales', 'Lead', 200, 'bob', NULL, 'cars'),
	(3, '2024-01-03', 'Sales', 'Lead', 300, 'ann', 'USD', 'cars'), (4, '2024-01-04', 'Sales', 'Lead', NULL, 'bob', NULL, NULL),
	(5, '2024-01-05', 'Sales', 'Offer', 1000, 'ann', NULL, 'cars'), (6, '2024-01-06', 'Service', 'Ticket', 50, 'eve', NULL, NULL),
	(7, '2024-01-01', 'Sales', 'Lead', 700, 'bob', NULL, 'vans'), (7, '2024-02-01', 'Sales', 'Won', 700, 'bob', NULL, 'vans');
SELECT * FROM pipelines.import_history('deals', 'event');
CREATE FUNCTION cards(jsonb) RETURNS text LANGUAGE sql AS $$ SELECT string_agg(c ->> 'deal', ' ' ORDER BY n) FROM jsonb_array_elements($1) WITH ORDINALITY x(c, n) $$;

-- by stage: all live stages, one row per currency
SELECT column_number, column_name, pipeline_id, stage_id, outcome, currency, deals_count, unpriced, amount, weighted, cards(card_list), next_page
FROM pipelines.board('deals');
-- it says the same as T_board
SELECT count(*) FROM deals_board b FULL JOIN pipelines.board('deals') x
	ON (b.pipeline_id, b.stage_id, b.deals, b.unpriced, b.amount, b.weighted) = (x.pipeline_id, x.stage_id, x.deals_count, x.unpriced, x.amount, x.weighted)
	AND b.currency = x.currency
WHERE b.stage_id IS NULL OR x.stage_id IS NULL;
-- S111: filtered stages; S113: by owner, product, pipeline, an expression, a column of T_current
SELECT column_name, currency, deals_count, amount, cards(card_list) FROM pipelines.board('deals', stages => '{Lead,Won,Lost}', pipeline => 'Sales');
SELECT column_name, currency, deals_count, amount, weighted, cards(card_list) FROM pipelines.board('deals', by => 'owner', stages => '{Lead,Offer}');
SELECT column_name, currency, deals_count, cards(card_list) FROM pipelines.board('deals', by => 'product', condition => 'amount >= 200', order_by => 'amount desc');
SELECT column_name, pipeline_id, deals_count, amount FROM pipelines.board('deals', by => 'pipeline') WHERE currency = 'EUR';
SELECT column_name, deals_count FROM pipelines.board('deals', by => 'amount > 250', pipeline => 'Sales') WHERE currency = 'EUR';
SELECT column_name, deals_count, amount FROM pipelines.board('deals', by => 'outcome') WHERE currency = 'EUR';
SELECT column_name, deals_count, cards(card_list) FROM pipelines.board('deals', by => 'owner', order_by => 'effective_probability DESC');
-- pages
SELECT column_name, deals_count, cards(card_list), next_page FROM pipelines.board('deals', cards => 2, stages => '{Lead,Demo}', order_by => 'amount');
SELECT column_name, deals_count, cards(card_list), next_page FROM pipelines.board('deals', cards => 2, page => 2, stages => '{Lead,Demo}', order_by => 'amount');
-- as it was: deal 7 in Lead, the Ticket not there yet
SELECT column_name, currency, deals_count, amount, weighted, cards(card_list) FROM pipelines.board('deals', as_of => '2024-01-05 12:00') WHERE deals_count > 0;

-- one document for a front end
SELECT jsonb_pretty(document #- '{as_of}') FROM pipelines.board('deals', stages => '{Lead,Demo}', cards => 1, as_json => true, as_of => '2024-03-01');
SELECT document ->> 'by' AS by, jsonb_path_query_array(document, '$.columns[*].name') AS names, jsonb_path_query_array(document, '$.columns[*].deals') AS deals,
	jsonb_path_query_array(document, '$.columns[*].next_page') AS next
FROM pipelines.board('deals', by => 'owner', cards => 1, as_json => true);

-- saved under a name, with an owner
CREATE ROLE boards_ann; CREATE ROLE boards_bob;
GRANT SELECT ON deals TO boards_ann, boards_bob;
ALTER TABLE deals ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON deals USING ('boards_' || owner = current_user);
SET ROLE boards_ann;
SELECT pipelines.save_board('Open cars', 'deals', by => 'product', stages => '{Lead,Demo,Offer}', cards => 5);
SELECT pipelines.save_board('Mine', 'deals', by => 'stage', pipeline => 'Sales', shared => true);
SELECT try($$SELECT pipelines.save_board('Bad', 'deals', by => 'nonsense')$$);
SELECT name, owner, deals, settings, shared FROM pipelines.boards();
SELECT column_name, deals_count, cards(card_list) FROM pipelines.saved_board('Open cars');
RESET ROLE;
SET ROLE boards_bob;
SELECT name, owner FROM pipelines.boards();
-- another's board with one's own rights: bob sees bob's deals
SELECT column_name, currency, deals_count, cards(card_list) FROM pipelines.saved_board('Mine') WHERE deals_count > 0;
SELECT column_name FROM pipelines.board('deals', by => 'owner') ORDER BY 1;
SELECT try($$SELECT count(*) FROM pipelines.saved_board('Open cars')$$);
SELECT try($$SELECT pipelines.drop_board('Mine')$$);
SELECT try($$UPDATE pipelines.board SET shared = false$$);
SELECT try($$INSERT INTO pipelines.board VALUES ('x', 'boards_ann', 'deals', '{}', true, now())$$);
RESET ROLE;
SET ROLE boards_ann;
SELECT pipelines.save_board('Mine', 'deals', by => 'owner');
SELECT pipelines.drop_board('Open cars');
SELECT name, settings, shared FROM pipelines.boards();
RESET ROLE;

-- an adopted table: other names, a key of two columns, an enum whose labels are columns, used or not
CREATE TYPE mood AS ENUM ('hot', 'warm', 'cold');
CREATE TABLE opportunity (tenant integer, code text, title text, state text NOT NULL, worth numeric(12,2), feeling mood, PRIMARY KEY (tenant, code));
INSERT INTO opportunity VALUES (1, 'a', 'A', 'new', 10, 'cold'), (1, 'b', 'B', 'new', 20, 'hot'), (2, 'a', 'C', 'won', 30, NULL);
SELECT count(*) > 0 AS adopted FROM pipelines.adopt('opportunity', stage => 'state', amount => 'worth', layout => 'CRM', apply => true);
SELECT column_name, outcome, deals_count, amount, cards(card_list) FROM pipelines.board('opportunity');
SELECT column_name, deals_count, amount, cards(card_list) FROM pipelines.board('opportunity', by => 'feeling');
SELECT c ->> 'deal' AS deal, c ->> 'title' AS title, c ->> 'amount' AS amount
FROM pipelines.board('opportunity', order_by => 'worth desc'), jsonb_array_elements(card_list) c;

-- what is saved outlives renaming (R-2.34), and a pipeline of that name in another layout; not its table
SELECT pipelines.save_board('Kept', 'deals', stages => '{Lead,Demo}', pipeline => 'Sales');
SELECT pipelines.create_pipeline('Sales', layout => 'elsewhere', stages => '["Lead", "Done deal"]') > 0 AS elsewhere;
BEGIN;
UPDATE pipelines.stage SET name = 'First contact' WHERE name = 'Demo';
UPDATE pipelines.pipeline SET name = 'Selling' WHERE name = 'Sales' AND layout_id = 1;
SELECT settings FROM pipelines.boards() WHERE name = 'Kept';
SELECT column_name, deals_count FROM pipelines.saved_board('Kept');
ROLLBACK;
SELECT column_name, deals_count FROM pipelines.saved_board('Kept');
SELECT count(*) > 0 AS scores FROM pipelines.scores('deals', pipeline => 'Sales');
SELECT count(*) > 0 AS legs FROM pipelines.bridge('deals', now() - interval '1 day', now(), pipelines => '{Sales}');
SELECT try($$SELECT pipelines.bridge('deals', now() - interval '1 day', now(), pipelines => '{Nowhere}')$$);
SELECT pipelines.create_deals('brief');
SELECT pipelines.save_board('Brief', 'brief');
DROP TABLE brief CASCADE;
SELECT try($$SELECT pipelines.saved_board('Brief')$$);
SELECT pipelines.drop_board('Brief'), pipelines.drop_board('Kept');

SELECT try($$SELECT pipelines.board('deals', stages => '{Lead,Nowhere}')$$);
SELECT try($$SELECT pipelines.board('deals', pipeline => 'Nowhere')$$);
SELECT try($$SELECT pipelines.board('deals', order_by => 'nonsense')$$);
SELECT try($$SELECT pipelines.board('deals', condition => 'pg_sleep(1) IS NULL')$$);
SELECT try($$SELECT pipelines.board('deals', cards => -1)$$);
SELECT try($$SELECT pipelines.board('event')$$);

\c :home
DROP DATABASE regress_pipelines_boards;
DROP ROLE boards_ann; DROP ROLE boards_bob;
