-- refused_input.sql: errors that no other file brings about, each with all that it
-- says: names, labels and columns that can't be used, plans that can't be followed,
-- arguments that are missing, and more of something than there may be.  Nothing is
-- left of what was refused.  In a database of its own.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_refused_input;
CREATE DATABASE regress_pipelines_refused_input TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_refused_input
\i test/data/checks.sql
\set ECHO all
\set SHOW_CONTEXT never
CREATE ROLE regress_refused_definer;
CREATE ROLE regress_refused_planner;
SELECT pipelines.setup(owner => 'regress_refused_definer') IS NOT NULL AS made;
SELECT pipelines.create_pipeline('Sales', time_zone => 'UTC', stages => '[{"name": "Lead", "probability": 10},
	{"name": "Offer", "probability": 50}, {"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}]') AS sales;
SELECT pipelines.create_deals('deals', currency => 'EUR') AS deals;

--
-- Fiscal calendars
--
-- any JSON is taken for labels, an object alone has them
SELECT l, try(format('SELECT pipelines.create_fiscal_calendar(''Odd'', labels => %L)', l)) FROM unnest(ARRAY['[]', '"FY{yy}"', 'null', '2026']) l;
SELECT count(*) FROM pipelines.fiscal_calendar;
-- a label is unique among periods of one kind only: one quarter of twelve months may be called as its year
SELECT pipelines.create_fiscal_calendar('Yearly', from_year => 2024, to_year => 2025, quarters => '{12}', labels => '{"quarter": "{year}"}') > 0 AS made;
SELECT try($$SELECT pipelines.lock_period('Yearly', '2024')$$), try($$SELECT pipelines.unlock_period(NULL, '2024', 'audit')$$);
-- with the kind it is one of them
SELECT try($$SELECT pipelines.lock_period('Yearly', '2024', kind => 'quarter')$$);
SELECT label, kind FROM pipelines.fiscal_period WHERE locked_at IS NOT NULL;

--
-- Tables that can't be adopted
--
CREATE FOREIGN DATA WRAPPER regress_refused_wrapper;
CREATE SERVER regress_refused_server FOREIGN DATA WRAPPER regress_refused_wrapper;
CREATE TABLE spread (id integer, state text) PARTITION BY LIST (id);
CREATE TABLE spread_here PARTITION OF spread FOR VALUES IN (1);
CREATE TABLE spread_more PARTITION OF spread FOR VALUES IN (2, 3) PARTITION BY LIST (id);
CREATE FOREIGN TABLE spread_far PARTITION OF spread_more FOR VALUES IN (2) SERVER regress_refused_server;
CREATE FOREIGN TABLE "Spread far" PARTITION OF spread FOR VALUES IN (4) SERVER regress_refused_server;
SELECT try($$SELECT * FROM pipelines.adopt('spread', stage => 'state')$$);

--
-- What a table is adopted with
--
CREATE TABLE jobs (id integer PRIMARY KEY, state text, verdict text, chance numeric);
INSERT INTO jobs VALUES (1, 'Lead', NULL, 10), (2, 'Won', 'yes', 100);
-- a name for a column to be made, which may be as long as a name can be: 63 bytes
SELECT c, try(format('SELECT * FROM pipelines.adopt(''jobs'', stage => ''state'', columns => %L)', jsonb_build_object('owner', c)))
FROM unnest(ARRAY['', repeat('o', 64), repeat('ö', 32)]) c;
SELECT count(*) FILTER (WHERE item LIKE '%oooo%') AS columns FROM pipelines.adopt('jobs', stage => 'state', columns => jsonb_build_object('owner', repeat('o', 63)));
-- percent, or a fraction of 1
SELECT try($$SELECT * FROM pipelines.adopt('jobs', stage => 'state', probability => 'chance', scale => 'permille')$$);
-- a history, which needs room for the names of its parts
SELECT h, try(format('SELECT * FROM pipelines.adopt(''jobs'', stage => ''state'', history => %L)', h)) FROM unnest(ARRAY[repeat('h', 56), repeat('ö', 28)]) h;
SELECT count(*) FROM pipelines.adopt('jobs', stage => 'state', history => repeat('h', 55)) WHERE item ~ 'hhhh';
SELECT try($$SELECT * FROM pipelines.adopt('jobs', stage => 'state', history => '')$$), try($$SELECT * FROM pipelines.adopt('jobs', stage => 'state', columns => '["owner"]')$$),
	try($$SELECT * FROM pipelines.adopt('jobs', stage => 'state', columns => '"owner"')$$);
-- what we write ourselves can't be computed from something else
CREATE TABLE sums (id integer PRIMARY KEY, state text, amount numeric, done timestamptz GENERATED ALWAYS AS ('2026-01-01 00:00+00'::timestamptz) STORED, verdict text GENERATED ALWAYS AS (state || '!') STORED, twice numeric GENERATED ALWAYS AS (2 * amount) STORED);
SELECT c, try(format('SELECT count(*) FROM pipelines.adopt(''sums'', stage => ''state'', %s)', c)) FROM unnest('{"columns => ''{\"closed_at\": \"done\"}''", "outcome => ''verdict''", "amount => ''twice''"}'::text[]) c;
-- a history keeps nothing of a type that the extension takes with it
CREATE DOMAIN chance AS pipelines.probability;
CREATE TYPE odds AS (label text, chances chance[]);
CREATE TABLE bets (id integer, state text, chance chance, odds odds, whole numeric, PRIMARY KEY (id));
SELECT c, try(format('SELECT * FROM pipelines.adopt(''bets'', stage => ''state'', %s)', c))
FROM unnest('{"owner => ''odds''", "probability => ''chance''", "columns => ''{\"close_reason\": \"chance\"}''", "key => ''{id,id}''"}'::text[]) c;
DELETE FROM pipelines.adoption;

--
-- Plans
--
-- none yet
SELECT try($$SELECT * FROM pipelines.apply_adoption('jobs')$$), try($$CALL pipelines.adopt_in_batches('jobs')$$);
SELECT count(*) > 0 AS planned FROM pipelines.adopt('jobs', stage => 'state', outcome => 'verdict', pipeline => 'Jobs');
SELECT part, value, stage, outcome FROM pipelines.adoption_plan ORDER BY 1, 2;
-- one stage with two outcomes: of the values alone, of values and what is said apart
UPDATE pipelines.adoption_plan SET stage = 'Lead' WHERE value = 'Won';
SELECT try($$SELECT * FROM pipelines.apply_adoption('jobs')$$);
UPDATE pipelines.adoption_plan SET outcome = 'open' WHERE value = 'Won';
UPDATE pipelines.adoption_plan SET stage = 'Lead', outcome = 'disqualified' WHERE value = 'yes';
SELECT try($$SELECT * FROM pipelines.apply_adoption('jobs')$$), try($$CALL pipelines.adopt_in_batches('jobs')$$);
SELECT count(*) AS pipelines FROM pipelines.pipeline;
SELECT count(*) AS registered FROM pipelines.tracked_table WHERE adopted;

--
-- More values than a column of stages has: 5000, and 100 for an outcome
--
CREATE TABLE crowd (id integer PRIMARY KEY, state text, verdict text);
INSERT INTO crowd SELECT g, 's' || g, 'v' || g % 100 FROM generate_series(1, 5000) g;
-- an empty value is one, too
INSERT INTO crowd VALUES (0, NULL, 'v0');
SELECT try($$SELECT * FROM pipelines.adopt('crowd', stage => 'state')$$);
UPDATE crowd SET state = 's1', verdict = NULL WHERE id = 0;
SELECT try($$SELECT * FROM pipelines.adopt('crowd', stage => 'state', outcome => 'verdict')$$);
SELECT count(*) FROM pipelines.adoption WHERE relation = 'crowd'::regclass;
-- as many as there may be are proposed
UPDATE crowd SET verdict = 'v1' WHERE id = 0;
SELECT action FROM pipelines.adopt('crowd', stage => 'state', outcome => 'verdict') WHERE item LIKE 'column%' AND action LIKE 'warning%';
SELECT part, count(*) FROM pipelines.adoption_plan WHERE relation = 'crowd'::regclass GROUP BY 1 ORDER BY 1;
DELETE FROM pipelines.adoption WHERE relation = 'crowd'::regclass;

--
-- Values of an adopted table that are none
--
SELECT count(*) > 0 AS adopted FROM pipelines.adopt('jobs', stage => 'state', pipeline => 'Sales', apply => true);
SELECT try($$SELECT pipelines.add_stage_value('jobs', NULL, 'Offer')$$), try($$SELECT pipelines.add_stage_value('jobs', 'Quoted', 'Offer', NULL)$$),
	try($$SELECT pipelines.add_stage_value('jobs', 'Quoted', 'Offer', 'probability')$$);
SELECT part, value, is_written FROM pipelines.stage_value WHERE relation = 'jobs'::regclass ORDER BY 1, 2;
-- a table that was made for deals has no such values
SELECT try($$SELECT pipelines.add_stage_value('deals', 'Quoted', 'Offer')$$), try($$SELECT pipelines.add_stage_value('crowd', 'Quoted', 'Offer')$$);
-- an empty value is one: it stands for NULL
SELECT try($$SELECT pipelines.add_stage_value('jobs', '', 'Offer')$$);

--
-- Columns that can't be tracked: their types would go with the extension
--
ALTER TABLE deals ADD chance pipelines.probability, ADD chances pipelines.probability[], ADD total pipelines.forecast, ADD board pipelines.board,
	ADD domain chance, ADD domains chance[], ADD odds odds, ADD nested odds[];
SELECT c, try(format('SELECT pipelines.track(''deals'', %L)', c)) FROM unnest('{chance,chances,total,board,domain,domains,odds,nested}'::text[]) c;
SELECT count(*) FROM pg_attribute WHERE attrelid = 'deals_history'::regclass AND attname IN ('chance', 'chances', 'total', 'board');
ALTER TABLE deals DROP chance, DROP chances, DROP total, DROP board;

--
-- Events that name no pipeline, where there is none to go to
--
SELECT pipelines.create_pipeline('Service', layout => 'service', stages => '["Asked", {"name": "Done", "outcome": "won"}]') > 0 AS made;
SELECT pipelines.create_deals('requests', layout => 'service', currency => 'EUR') AS requests;
UPDATE pipelines.pipeline SET is_standard = false WHERE name = 'Service';
CREATE TABLE events (deal_id bigint, at timestamptz, stage text, name text);
INSERT INTO events VALUES (1, '2026-03-02 09:00+00', 'Asked', 'one');
SELECT try($$SELECT * FROM pipelines.import_history('requests', 'events')$$);
ALTER TABLE events ADD pipeline text;
UPDATE events SET pipeline = 'Service';
SELECT try($$SELECT * FROM pipelines.import_history('requests', 'events')$$);
SELECT deal_id, name, version FROM requests;

--
-- Where an import comes from, and where its view is to go
--
CREATE SEQUENCE numbers;
CREATE TYPE shape AS (id integer);
SELECT s, try(format('SELECT pipelines.import_view(''v'', ''hubspot'', %L, ''deals'')', s)) FROM unnest('{numbers,jobs_pkey,shape}'::text[]) s;
CREATE VIEW exported AS SELECT e.deal_id, e.at AS "timestamp", e.stage AS value FROM events e;
BEGIN;
CREATE FUNCTION elsewhere() RETURNS text LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
	PERFORM pipelines.import_view('v', 'hubspot', 'public.exported', 'public.deals');
	RETURN 'made';
EXCEPTION WHEN OTHERS THEN
	RETURN sqlstate || ': ' || sqlerrm;
END $$;
SELECT elsewhere();
ROLLBACK;

--
-- Conversions that nobody spells out.  A literal among words is read as a word; of a
-- row and one of its children's the latter becomes the former.
--
CREATE DOMAIN word AS text CHECK (VALUE <> 'x');
CREATE TABLE parent (n integer);
CREATE TABLE child () INHERITS (parent);
ALTER TABLE deals ADD words word[], ADD parent parent, ADD child child;
SELECT e, try(format('UPDATE pipelines.pipeline_stage SET entry_rule = %L WHERE pipeline_id = 1 AND stage_id = 2', e))
FROM unnest(ARRAY['array_position(words, ''a'') > 0', 'coalesce(child, parent) IS NOT NULL']) e;
SELECT try($$SELECT * FROM pipelines.flow('deals', by => 'array_position(words, ''a'')')$$),
	try($$SELECT * FROM pipelines.board('deals', condition => 'coalesce(child, parent) IS NOT NULL')$$);
SELECT count(*) FROM pipelines.pipeline_stage WHERE entry_rule IS NOT NULL;
-- a column is a list of one, where a condition is wanted; and what a backslash is, settings say
SELECT c, try(format('SELECT * FROM pipelines.board(''deals'', condition => %L)', c)), try(format('SELECT * FROM pipelines.adopt(''crowd'', stage => ''state'', live => %L)', c))
FROM unnest(ARRAY['state', 'name', 'state <> ''\''', 'name <> ''\''', '(', ')', '']) c;

--
-- What a report is split by
--
-- neither a column nor an expression: the rest is a comment; and what a backslash is, settings say
SELECT try($$SELECT * FROM pipelines.board('deals', by => 'amount)) --')$$), try($$SELECT * FROM pipelines.board('deals', by => 'owner || ''\''')$$),
	try($$SELECT * FROM pipelines.train_scores('deals', features => '{owner,amount)) --}')$$),
	try($$SELECT * FROM pipelines.calibration('deals', '2026-01-01', features => '{amount)) --}')$$), try($$SELECT * FROM pipelines.forecast_accuracy('deals', by => 'amount)) --')$$);
-- eight things, each once
SELECT f, try(format('SELECT * FROM pipelines.%s(''deals'', by => ''{owner,unit,team,territory,pipeline,product,source,channel,competitor}'')', f)),
	try(format('SELECT * FROM pipelines.%s(''deals'', by => ''{owner,NULL}'')', f)),
	try(format('SELECT * FROM pipelines.%s(''deals'', by => ''{owner,unit,unit_id,team,territory,pipeline,pipeline_id,product,source,channel}'')', f))
FROM unnest('{quota_report,forecast_report,forecast_deals}'::text[]) f;
-- a hundred years
SELECT w, try(format('SELECT * FROM pipelines.trend(''deals'', %L::integer)', w)) FROM unnest('{NULL,-1,0,1,5200,5201}'::integer[]) w;

-- what is scored by
SELECT f, try(format('SELECT * FROM pipelines.train_scores(''deals'', %s)', f)), try(format('SELECT * FROM pipelines.calibration(''deals'', ''2026-01-01'', %s)', f))
FROM unnest('{"features => ''{NULL}''", "features => ''{owner,owner}''", "features => ''{{owner},{source}}''", "ages => ''{NULL}''"}'::text[]) f;
SELECT try($$SELECT * FROM pipelines.train_scores('deals', smoothing => 0)$$), try($$SELECT * FROM pipelines.train_scores('deals', features => '{owner -- whoever it is}')$$);

-- units and types of a quota
INSERT INTO pipelines.sales_unit (unit_id, name, parent_id, manager) VALUES (1, 'World', NULL, 'wanda'), (2, 'World', 1, 'nora');
SELECT u, try(format('SELECT pipelines.set_quota(1, ''2024-06-01'', calendar => ''Yearly'', kind => ''year'', unit => %L)', u)) FROM unnest('{Moon,World,""}'::text[]) u;
DELETE FROM pipelines.sales_unit;
SELECT try($$SELECT pipelines.set_quota(1, '2024-06-01', calendar => 'Yearly', kind => 'year', unit => 'World')$$);
UPDATE pipelines.forecast_type SET is_standard = false;
SELECT try($$SELECT pipelines.set_quota(1, '2024-06-01', calendar => 'Yearly', kind => 'year', owner => 'ann')$$),
	try($$SELECT pipelines.set_quota(1, '2024-06-01', calendar => 'Yearly', kind => 'year', owner => 'ann', forecast_type => 'units')$$);
UPDATE pipelines.forecast_type SET is_standard = true WHERE code = 'amount';
SELECT count(*) FROM pipelines.quota;

-- sets of rates, calendars and kinds of periods that there are not
SELECT call, try('SELECT * FROM pipelines.' || call) FROM unnest('{"bridge(''deals'', now() - interval ''1 day'', now(), currency => ''USD'', rate_set => ''sport'')",
	"changes(''deals'', now() - interval ''1 day'', now(), currency => ''USD'', rate_set => ''sport'')", "forecast_report(''deals'', currency => ''USD'', rate_set => ''sport'')",
	"forecast_report(''deals'', calendar => ''nope'')", "quota_report(''deals'', calendar => ''nope'')", "forecast_report(''deals'', currency => ''USD'', rates => ''fixed:sport@2026-01-01'')", "quota_report(''deals'', currency => ''USD'', rate_set => ''sport'')",
	"forecast_accuracy(''deals'', calendar => ''nope'')", "forecast_accuracy(''deals'', calendar => ''Yearly'', period => ''Month'')"}'::text[]) WITH ORDINALITY u(call, n) ORDER BY n;

--
-- Arguments that are missing
--
SELECT call, try('SELECT * FROM pipelines.' || call) FROM unnest('{"forecast_accuracy(NULL)", "forecast_accuracy(''deals'', horizons => NULL)",
	"forecast_accuracy(''deals'', horizons => ''{30,NULL}'')", "forecast_accuracy(''deals'', period => NULL)", "forecast_accuracy(''deals'', periods => NULL)",
	"forecast_accuracy(''deals'', as_of => NULL)", "board(NULL::regclass)", "board(''deals'', cards => NULL)", "board(''deals'', page => NULL)",
	"board(''deals'', as_json => NULL)", "save_board(NULL, ''deals'')", "save_board(''mine'', NULL)", "save_board(''mine'', ''deals'', shared => NULL)",
	"train_scores(NULL)", "train_scores(''deals'', as_of => NULL)", "scores(NULL)", "scores(''deals'', as_of => NULL)",
	"calibration(NULL, ''2026-01-01'')", "calibration(''deals'', NULL)", "calibration(''deals'', ''2026-01-01'', every => NULL)",
	"calibration(''deals'', ''2026-01-01'', as_of => NULL)", "calibration(''deals'', ''2026-01-01'', new_only => NULL)", "journey(''deals'', NULL)", "secure_quotas(NULL)", "secure_quotas(secured => NULL)"}'::text[]) WITH ORDINALITY u(call, n) ORDER BY n;
SELECT (SELECT count(*) FROM pipelines.board) AS boards, (SELECT count(*) FROM pipelines.score_model) AS models,
	(SELECT count(*) FROM pg_policy WHERE polrelid = 'pipelines.quota'::regclass) AS policies;
-- an expression for the present user that is none, is more than one, or names what is not there
SELECT who, try(format('SELECT pipelines.secure_quotas(%L)', who)) FROM unnest(ARRAY[')', '', 'current_user)::text); SELECT (1', 'current_user, session_user',
	'current_user;', 'current_user FROM pg_class', 'current_user AS me', '1 +', 'a) + (b', '/* me', 'nobody', 'nobody()', '1', 'generate_series(1, 2)::text', 'max(owner)', '''x''::integer::text']) WITH ORDINALITY u(who, n) ORDER BY n;
SELECT try($$SELECT pipelines.secure_quotas(')', secured => false)$$);
SELECT count(*) FROM pg_policy WHERE polrelid = 'pipelines.quota'::regclass;
SELECT pipelines.secure_quotas('(SELECT current_user::text) -- me');
SELECT polname, pg_get_expr(polwithcheck, polrelid) ~ 'CURRENT_USER' AS asks FROM pg_policy WHERE polrelid IN ('pipelines.quota'::regclass, 'pipelines.submission'::regclass) ORDER BY 1;
SELECT pipelines.secure_quotas(secured => false);
-- what is looked up with must be of some type
SELECT try($$SELECT pipelines._lookup('SELECT $1', 'a')$$), try($$SELECT pipelines._lookup('SELECT $1', 'a'::text, NULL)$$),
	try($$SELECT pipelines._lookup('SELECT $1', CAST('a' AS text))$$);

--
-- Keys of deals that are none: the type of a column knows the text alone, the hint
-- says of which table and column it was meant to be
--
CREATE DOMAIN number AS bigint CHECK (VALUE < 1000);
SELECT pipelines.create_deals('lines', key => '{region,line}', currency => 'EUR') AS lines;
CREATE TABLE tickets (number number PRIMARY KEY, state text);
SELECT count(*) > 0 AS adopted FROM pipelines.adopt('tickets', stage => 'state', pipeline => 'Sales', apply => true);
SELECT call, try('SELECT * FROM pipelines.' || call) FROM unnest('{"move(''deals'', ''x'', ''Offer'')", "move_many(''deals'', ''{1,x}'', ''Offer'')",
	"move_many(''deals'', ''{1,x}'', ''Offer'', on_refuse => ''skip'')", "move_plan(''deals'', ''{x}'', ''Offer'')", "push_back(''deals'', ''1.5'', ''why'')",
	"purge(''deals'', ''1e3'')", "advance(''deals'', ''x'')", "journey(''deals'', ''x'')", "next_steps(''deals'', ''x'')", "next_steps(''deals'', '''')",
	"stage_times(''deals'', ''x'')", "journey(''deals'', ''99999999999999999999'')", "journey(''lines'', ''1'')", "journey(''lines'', ''(1,x)'')",
	"move(''lines'', ''(x,1)'', ''Offer'')", "next_steps(''tickets'', ''x'')", "next_steps(''tickets'', ''1000'')"}'::text[]) WITH ORDINALITY u(call, n) ORDER BY n;
-- blanks around a number are the type's own business
SELECT try($$SELECT * FROM pipelines.journey('deals', ' 1 ')$$);

--
-- Who may define a pipeline may protect it, unless it is the first one: that takes
-- policies on tables that are somebody else's
--
SELECT pipelines.grant_access('deals', 'regress_refused_planner', 'define');
-- what is granted outlives the protection
SELECT pipelines.grant_pipeline('Service', 'regress_refused_planner', 'define'), pipelines.protect_pipeline('Service', false);
SET ROLE regress_refused_planner;
SELECT try($$SELECT pipelines.protect_pipeline('Service')$$), try($$SELECT pipelines.grant_pipeline('Service', 'public', 'see')$$);
RESET ROLE;
SELECT p.name, p.protected, r.role FROM pipelines.pipeline p LEFT JOIN pipelines.pipeline_role r USING (pipeline_id) ORDER BY 1, 3;
-- as the second one
SELECT pipelines.protect_pipeline('Sales');
SET ROLE regress_refused_planner;
SELECT try($$SELECT pipelines.protect_pipeline('Service')$$);
RESET ROLE;
SELECT p.name, p.protected FROM pipelines.pipeline p ORDER BY 1;

\c :home
SET client_min_messages = warning;
DROP DATABASE regress_pipelines_refused_input;
DROP ROLE regress_refused_definer, regress_refused_planner;
