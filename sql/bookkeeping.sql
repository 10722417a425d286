-- bookkeeping.sql: who writes the bookkeeping, instants, provenance (CORE 3, 4, 11 to 14, tests 8, 10, 11)
-- In a database of its own, so that every id is the same in every run.
\set ECHO none
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_pipelines_bookkeeping;
CREATE DATABASE regress_pipelines_bookkeeping TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\set home :DBNAME
\c regress_pipelines_bookkeeping
\i test/data/checks.sql
\set ECHO all
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_pipelines_owner, regress_pipelines_member, regress_pipelines_clerk;
RESET client_min_messages;
CREATE ROLE regress_pipelines_owner;
CREATE ROLE regress_pipelines_member IN ROLE regress_pipelines_owner;
CREATE ROLE regress_pipelines_clerk;
SELECT pipelines.create_pipeline('Sales', time_zone => 'UTC', stages => '["New", "Quote", "Demo", {"name": "Won", "outcome": "won"}, {"name": "Lost", "outcome": "lost"}, {"name": "Late", "may_start": false}]');
CREATE SCHEMA crm AUTHORIZATION regress_pipelines_owner;
GRANT USAGE ON SCHEMA crm TO PUBLIC;
SET search_path = crm, public;
SET ROLE regress_pipelines_owner;
SELECT pipelines.create_deals('deals');
GRANT SELECT, INSERT, UPDATE, DELETE ON deals TO regress_pipelines_clerk;
RESET ROLE;
CREATE FUNCTION public.book(id bigint) RETURNS text LANGUAGE sql AS $$
	SELECT format('v%s e%s furthest %s gate %s entered %s changed %s created %s by %s closed %s on %s', version, episode, furthest_stage_id, gate_stage_id,
		CASE WHEN stage_entered_at > '2021-01-01' THEN 'now' ELSE stage_entered_at::date::text END, CASE WHEN changed_at > '2021-01-01' THEN 'now' ELSE changed_at::date::text END,
		CASE WHEN created_at > '2021-01-01' THEN 'now' ELSE created_at::date::text END, CASE created_by WHEN session_user THEN 'me' ELSE created_by END,
		CASE WHEN closed_at > '2021-01-01' THEN 'now' ELSE closed_at::date::text END, CASE WHEN closed_on > '2021-01-01' THEN 'now' ELSE closed_on::text END)
	FROM crm.deals WHERE deal_id = id
$$;

--
-- A row that brings all of it, plausible, from a member of the owner's role: kept (CORE 3, reading 4)
--
CREATE TABLE public.sent AS SELECT 1::bigint AS deal_id, 1 AS pipeline_id, 3 AS stage_id, '2019-12-24'::timestamptz AS created_at, 'santa'::text AS created_by,
	'2020-01-02'::timestamptz AS stage_entered_at, 3 AS furthest_stage_id, NULL::integer AS gate_stage_id, 2 AS episode, 5 AS version, '2020-01-03'::timestamptz AS changed_at, NULL::timestamptz AS closed_at, NULL::date AS closed_on;
GRANT SELECT, UPDATE ON public.sent TO PUBLIC;
\set columns 'deal_id, pipeline_id, stage_id, created_at, created_by, stage_entered_at, furthest_stage_id, gate_stage_id, episode, version, changed_at, closed_at, closed_on'
SET ROLE regress_pipelines_owner;
INSERT INTO deals (:columns) SELECT * FROM sent;
SET ROLE regress_pipelines_member;
INSERT INTO deals (:columns) SELECT 2, 1, 4, created_at, created_by, stage_entered_at, 3, NULL, 1, 1, changed_at, '2020-01-02', '2020-01-01' FROM sent;
RESET ROLE;
INSERT INTO deals (:columns) SELECT 3, 1, 6, created_at, created_by, stage_entered_at, 3, 2, 1, 2, stage_entered_at, NULL, NULL FROM sent;		-- the superuser; may_start was judged then; a gate
COPY deals (deal_id, pipeline_id, stage_id, created_at, created_by, stage_entered_at, furthest_stage_id, gate_stage_id, episode, version, changed_at) FROM stdin;
4	1	2	2019-12-24	santa	2020-01-02	2	\N	1	1	2020-01-02
\.
SELECT deal_id, book(deal_id) FROM deals ORDER BY 1;
SELECT count(*) AS history_rows FROM deals_history;
-- the next change goes on from there
UPDATE deals SET stage_id = 4 WHERE deal_id IN (1, 3, 4);
SELECT deal_id, version, change, stage_id, to_stage_id, valid_from::date FROM deals_history ORDER BY 1, 2;
-- judged against the definitions all the same (CORE 4)
SELECT try('INSERT INTO crm.deals SELECT (jsonb_populate_record(NULL::crm.deals, to_jsonb(s) || ''{"deal_id": 9, "stage_id": 99}'')).* FROM sent s');
SELECT try('INSERT INTO crm.deals SELECT (jsonb_populate_record(NULL::crm.deals, to_jsonb(s) || ''{"deal_id": 9, "pipeline_id": 99}'')).* FROM sent s');
-- verify lists a version with no history behind it (CORE 4)
SELECT deal, version, problem FROM pipelines.verify('deals') ORDER BY 1, 2;
DELETE FROM deals;

--
-- Not plausible, not all of it, or not the owner: completed; fragments are ignored (CORE 3, test 10)
--
SET ROLE regress_pipelines_owner;
INSERT INTO deals (:columns) SELECT 11, 1, 2, created_at, created_by, stage_entered_at, 3, NULL, 2, 5, '2100-01-01', NULL, NULL FROM sent;		-- changed in the future
INSERT INTO deals (:columns) SELECT 12, 1, 2, created_at, created_by, changed_at, 3, NULL, 2, 5, stage_entered_at, NULL, NULL FROM sent;		-- entered after the change
INSERT INTO deals (:columns) SELECT 13, 1, 2, created_at, created_by, stage_entered_at, 3, NULL, 2, 0, changed_at, NULL, NULL FROM sent;		-- no such version
INSERT INTO deals (:columns) SELECT 14, 1, 2, created_at, created_by, stage_entered_at, 3, NULL, NULL, 5, changed_at, NULL, NULL FROM sent;		-- no episode
INSERT INTO deals (:columns) SELECT 15, 1, 2, NULL, NULL, stage_entered_at, NULL, 2, 2, 5, changed_at, NULL, NULL FROM sent;					-- no furthest stage
INSERT INTO deals (deal_id, version, changed_at, episode) VALUES (16, 7, '2020-01-01', 9);
INSERT INTO deals (deal_id, stage_id, version, changed_at, episode, closed_at) VALUES (17, 4, 7, '2020-01-01', 9, '2020-01-05');
SET ROLE regress_pipelines_clerk;
INSERT INTO deals (:columns) SELECT 21, pipeline_id, stage_id, created_at, created_by, stage_entered_at, furthest_stage_id, gate_stage_id, episode, version, changed_at, closed_at, closed_on FROM sent;
INSERT INTO deals (deal_id, version, changed_at, episode, gate_stage_id) VALUES (22, 7, '2020-01-01', 9, 3);
INSERT INTO deals (:columns) SELECT 23, 1, 4, created_at, created_by, stage_entered_at, 3, NULL, 1, 1, changed_at, '2020-01-02', NULL FROM sent;	-- closed_at is no bookkeeping: given where it closes
SELECT try('INSERT INTO crm.deals SELECT (jsonb_populate_record(NULL::crm.deals, to_jsonb(s) || ''{"deal_id": 24, "stage_id": 6}'')).* FROM sent s');	-- a start, therefore judged
RESET ROLE;
SELECT deal_id, book(deal_id) FROM deals ORDER BY 1;
SELECT * FROM problems('deals') WHERE deal::integer > 10;

--
-- UPDATE ignores what is sent of it, whoever sends it (CORE 3, test 8)
--
SET ROLE regress_pipelines_owner;
UPDATE deals SET version = 99, episode = 9, changed_at = '2020-01-01', stage_entered_at = '2020-01-01', furthest_stage_id = 5, gate_stage_id = 2, closed_at = '2020-01-01', closed_on = '2020-01-01' WHERE deal_id IN (11, 12);
UPDATE deals SET amount = 5, version = 99, episode = 9, changed_at = '2020-01-01', stage_entered_at = '2020-01-01', furthest_stage_id = 5, gate_stage_id = 2, closed_at = '2020-01-01', closed_on = '2020-01-01' WHERE deal_id IN (12, 13);
UPDATE deals SET version = NULL, episode = NULL, changed_at = NULL, stage_entered_at = NULL, furthest_stage_id = NULL, amount = 6 WHERE deal_id = 14;
SET ROLE regress_pipelines_clerk;
UPDATE deals SET stage_id = 3, version = 99, episode = 9, changed_at = '2020-01-01', stage_entered_at = '2020-01-01', furthest_stage_id = 1 WHERE deal_id = 15;
-- a whole row, as it was read before somebody else moved the deal
UPDATE deals SET (pipeline_id, stage_id, amount, stage_entered_at, furthest_stage_id, gate_stage_id, episode, version, changed_at, closed_at, closed_on)
	= ROW (1, 3, 5, '2020-01-01', 1, NULL, 1, 1, '2020-01-01', NULL, NULL) WHERE deal_id = 16;
UPDATE deals SET (pipeline_id, stage_id, amount, stage_entered_at, furthest_stage_id, gate_stage_id, episode, version, changed_at, closed_at, closed_on)
	= ROW (1, 3, 5, '2020-01-01', 1, NULL, 1, 1, '2020-01-01', NULL, NULL) WHERE deal_id = 16;
RESET ROLE;
SELECT deal_id, book(deal_id) FROM deals WHERE deal_id <= 16 ORDER BY 1;
SELECT deal_id, version, change, stage_id, to_stage_id, amount FROM deals_history WHERE deal_id BETWEEN 11 AND 16 ORDER BY 1, 2;
SELECT * FROM problems('deals') WHERE deal::integer > 10;

--
-- Generated columns (CORE 13, test 8): no version of their own, their values are kept
--
SET ROLE regress_pipelines_owner;
ALTER TABLE deals ADD COLUMN value numeric GENERATED ALWAYS AS (amount * quantity) STORED;
SELECT pipelines.track('deals', 'value');
INSERT INTO deals (deal_id, amount, quantity) VALUES (31, 10, 3);
UPDATE deals SET amount = 10, quantity = 3 WHERE deal_id = 31;
UPDATE deals SET name = 'same' WHERE deal_id = 31;
SELECT version FROM deals WHERE deal_id = 31;
UPDATE deals SET quantity = 4 WHERE deal_id = 31;
UPDATE deals SET stage_id = 2 WHERE deal_id = 31;
SELECT version, change, amount, quantity, value FROM deals_history WHERE deal_id = 31 ORDER BY 1;
RESET ROLE;
SELECT * FROM problems('deals') WHERE deal::integer > 10;

--
-- One instant per transaction (CORE 11), definitions included
--
BEGIN;
INSERT INTO deals (deal_id) VALUES (41);
SELECT pg_sleep(0.01);
UPDATE deals SET amount = 1 WHERE deal_id IN (11, 13);
UPDATE pipelines.pipeline_stage SET probability = 11 WHERE stage_id = 1;
INSERT INTO deals (deal_id, stage_id) VALUES (42, 4);
DELETE FROM deals WHERE deal_id = 12;
SAVEPOINT a;
UPDATE deals SET amount = 2 WHERE deal_id = 15;
RELEASE a;
SELECT count(DISTINCT t) AS instants FROM (
	SELECT changed_at AS t FROM deals WHERE deal_id IN (41, 11, 13, 15, 42) UNION ALL SELECT closed_at FROM deals WHERE deal_id = 42
	UNION ALL SELECT created_at FROM deals WHERE deal_id IN (41, 42)
	UNION ALL SELECT valid_to FROM deals_history WHERE deal_id = 12 AND change = 'delete'
	UNION ALL SELECT recorded_at FROM deals_history WHERE deal_id = 15 AND amount IS NULL AND to_stage_id = 3 AND change = 'change'
	UNION ALL SELECT changed_at FROM pipelines.pipeline_stage WHERE stage_id = 1) x;
-- but a deal's versions are never at one instant
UPDATE deals SET amount = 3 WHERE deal_id = 15;
UPDATE deals SET amount = 4 WHERE deal_id = 15;
DELETE FROM deals WHERE deal_id = 15;
INSERT INTO deals (deal_id) VALUES (15);
COMMIT;
SELECT version, change, valid_to - valid_from AS lived FROM deals_history WHERE deal_id = 15 AND version > 2 ORDER BY 1;
SELECT d.changed_at >= h.valid_to AS not_before_the_deletion FROM deals d JOIN deals_history h USING (deal_id) WHERE deal_id = 15 AND h.change = 'delete';
SELECT * FROM problems('deals') WHERE deal::integer > 10;

--
-- pipelines.event_time (CORE 12, test 11)
--
SET pipelines.event_time = '2020-03-01 10:00+00';
INSERT INTO deals (deal_id, stage_id) VALUES (51, 1), (52, 4);
SET pipelines.event_time = '2020-03-02 10:00+00';
UPDATE deals SET stage_id = 2 WHERE deal_id = 51;
UPDATE deals SET amount = 9 WHERE deal_id = 51;				-- the same instant: not before, therefore taken as it is
SELECT deal_id, book(deal_id) FROM deals WHERE deal_id IN (51, 52) ORDER BY 1;
SELECT version, valid_from, valid_to, recorded_at > '2021-01-01' AS recorded_now FROM deals_history WHERE deal_id = 51 ORDER BY 1;
-- out of order
SET pipelines.event_time = '2020-03-01 12:00+00';
SELECT try('UPDATE crm.deals SET stage_id = 3 WHERE deal_id = 51');
SELECT try('DELETE FROM crm.deals WHERE deal_id = 51');
SELECT try('UPDATE crm.deals SET name = ''no version'' WHERE deal_id = 52');
SET pipelines.event_time = '2020-04-01 12:00+00';
DELETE FROM deals WHERE deal_id = 51;
SET pipelines.event_time = '2020-03-15 12:00+00';
SELECT try('INSERT INTO crm.deals (deal_id) VALUES (51)');		-- before its last life ended
SET pipelines.event_time = '2020-05-01 12:00+00';
SELECT try('INSERT INTO crm.deals (deal_id) VALUES (51)');
-- in the future, nonsense, by others than the owner
SET pipelines.event_time = '2100-01-01';
SELECT left(try('UPDATE crm.deals SET stage_id = 3 WHERE deal_id = 51'), 40) AS said;
SELECT left(try('INSERT INTO crm.deals (deal_id) VALUES (53)'), 40) AS said;
SELECT try('SET pipelines.event_time = ''yesterweek''; UPDATE crm.deals SET stage_id = 3 WHERE deal_id = 51');
SET pipelines.event_time = '2020-06-01 12:00+00';
SET ROLE regress_pipelines_clerk;
SELECT try('UPDATE crm.deals SET stage_id = 3 WHERE deal_id = 51');
SELECT try('INSERT INTO crm.deals (deal_id) VALUES (53)');
SELECT try('DELETE FROM crm.deals WHERE deal_id = 51');
SET ROLE regress_pipelines_member;
SELECT try('UPDATE crm.deals SET stage_id = 3 WHERE deal_id = 51');
RESET ROLE;
RESET pipelines.event_time;
BEGIN;
SET LOCAL pipelines.event_time = '2020-07-01';
UPDATE deals SET stage_id = 4 WHERE deal_id = 51;
COMMIT;
UPDATE deals SET amount = 8 WHERE deal_id = 51;
SELECT version, change, stage_id, CASE WHEN valid_from < '2021-01-01' THEN valid_from::text END AS valid_from, CASE WHEN valid_to < '2021-01-01' THEN valid_to::text ELSE 'now' END AS valid_to FROM deals_history WHERE deal_id = 51 ORDER BY 1;
SELECT * FROM problems('deals') WHERE deal::integer > 10;

--
-- Who, why, in which batch (CORE 14)
--
SET pipelines.actor = 'web:42';
SET pipelines.reason = 'because';
SET pipelines.batch = 'b1';
SET application_name = 'till';
INSERT INTO deals (deal_id) SELECT generate_series(61, 69);
UPDATE deals SET stage_id = 2 WHERE deal_id = 61;
SET ROLE regress_pipelines_clerk;
UPDATE deals SET stage_id = 2 WHERE deal_id = 62;
RESET ROLE;
RESET pipelines.actor; RESET pipelines.reason; RESET pipelines.batch; RESET application_name;
UPDATE deals SET stage_id = 2 WHERE deal_id = 63;
SET SESSION AUTHORIZATION regress_pipelines_member;
UPDATE deals SET stage_id = 2 WHERE deal_id = 64;
SET ROLE regress_pipelines_owner;
UPDATE deals SET stage_id = 2 WHERE deal_id = 65;
INSERT INTO deals (deal_id) VALUES (70);
-- a function of the owner, called by the clerk
CREATE FUNCTION promote(id bigint) RETURNS void LANGUAGE sql SECURITY DEFINER AS 'UPDATE crm.deals SET stage_id = 2 WHERE deal_id = id';
-- FK cascades: the clerk's, too (CORE test 14)
CREATE TABLE house (id bigint PRIMARY KEY);
INSERT INTO house VALUES (1), (2);
ALTER TABLE deals ADD FOREIGN KEY (parent_deal_id) REFERENCES house ON DELETE SET NULL;
UPDATE deals SET parent_deal_id = 1 WHERE deal_id IN (67, 68);
GRANT SELECT, DELETE ON house TO regress_pipelines_clerk;
SET SESSION AUTHORIZATION regress_pipelines_clerk;
SELECT promote(66);
DELETE FROM house WHERE id = 1;
RESET SESSION AUTHORIZATION;
-- and where rows go with what they refer to, or are written one by one, as those of a partitioned table are
CREATE TABLE street (id bigint PRIMARY KEY);
INSERT INTO street VALUES (1), (2), (3);
ALTER TABLE deals ADD street bigint REFERENCES street ON DELETE CASCADE;
SELECT pipelines.create_deals('parts', partition_by => 'HASH (deal_id)');
CREATE TABLE parts_0 PARTITION OF parts FOR VALUES WITH (modulus 1, remainder 0);
SELECT count(*) > 0 AS resumed FROM pipelines.resume('parts');
ALTER TABLE parts ADD street bigint REFERENCES street ON DELETE CASCADE, ADD house bigint REFERENCES house ON DELETE SET NULL;
SELECT pipelines.track('parts', 'house');
INSERT INTO deals (deal_id, street) VALUES (71, 1);
INSERT INTO parts (deal_id, street, house) VALUES (72, 2, NULL), (73, NULL, 2);
GRANT SELECT, DELETE ON street TO regress_pipelines_clerk;
SET SESSION AUTHORIZATION regress_pipelines_clerk;
DELETE FROM street;
DELETE FROM house;
RESET SESSION AUTHORIZATION;
SELECT deal_id, version, change, actor, role_name FROM deals_history WHERE deal_id = 71
UNION ALL SELECT deal_id, version, change, actor, role_name FROM parts_history ORDER BY 1;
SELECT deal_id, house, version FROM parts;
-- transaction-local settings; a setting that changes while the transaction runs
BEGIN;
SET LOCAL pipelines.reason = 'first';
UPDATE deals SET amount = 1 WHERE deal_id = 69;
SET LOCAL pipelines.reason = 'second';
UPDATE deals SET amount = 2 WHERE deal_id = 69;
COMMIT;
UPDATE deals SET amount = 3 WHERE deal_id = 69;
SELECT deal_id, version, CASE actor WHEN session_user THEN 'me' ELSE actor END AS actor, CASE role_name WHEN session_user THEN 'me' ELSE role_name END AS role_name,
	CASE WHEN deal_id < 63 THEN application_name ELSE '' END AS application_name, reason, batch FROM deals_history WHERE deal_id BETWEEN 61 AND 69 ORDER BY 1, 2;
SELECT deal_id, CASE created_by WHEN session_user THEN 'me' ELSE created_by END AS created_by FROM deals WHERE deal_id IN (61, 70) ORDER BY 1;
-- many transactions, one number each
SELECT count(DISTINCT txid) > 5 AS several, bool_and(txid > 0) AS known FROM deals_history WHERE deal_id BETWEEN 61 AND 69;
SELECT count(DISTINCT txid) = 1 AS one FROM deals_history WHERE deal_id = 69 AND version < 3;
SELECT * FROM problems('deals') WHERE deal::integer > 10;
RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA crm CASCADE;
DROP OWNED BY regress_pipelines_owner, regress_pipelines_member, regress_pipelines_clerk;
DROP ROLE regress_pipelines_owner, regress_pipelines_member, regress_pipelines_clerk;
\set ECHO none
\c :home
SET client_min_messages = warning;
DROP DATABASE regress_pipelines_bookkeeping;
