-- import_view(): histories of other systems become events (R-13.3).
-- In a database of its own, since schema pipelines is one per database.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT current_database() AS home \gset
DROP DATABASE IF EXISTS regress_pipelines_formats;
CREATE DATABASE regress_pipelines_formats;
CREATE ROLE regress_formats_owner;
CREATE ROLE regress_formats_clerk;
\c regress_pipelines_formats
SET lc_messages = 'C';
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
CREATE EXTENSION pipelines;

SELECT pipelines.create_pipeline('Sales', time_zone => 'UTC', stages => '["Lead", "Quote", "Order", "Won", "Lost"]');
SELECT pipelines.create_pipeline('Service', time_zone => 'UTC', stages => '["Lead", "Repair", {"name": "Ready", "outcome": "done"}]');
CREATE VIEW names AS SELECT p.pipeline_id, s.stage_id, p.name AS pipeline, s.name AS stage
	FROM pipelines.pipeline_stage ps JOIN pipelines.pipeline p USING (pipeline_id) JOIN pipelines.stage s USING (stage_id);
-- all versions of the deals of a table, the present ones last
CREATE FUNCTION life(deals regclass) RETURNS TABLE (deal bigint, v integer, change text, since timestamptz, pipeline text, stage text,
	amount numeric, probability numeric, expected date, closed_on date, owner text, actor text)
LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE format('
		SELECT deal_id, version, change, valid_from, n.pipeline, n.stage, amount, probability, expected_close_on, closed_on, owner, actor
		FROM %1$s_history JOIN names n USING (pipeline_id, stage_id)
		UNION ALL
		SELECT deal_id, version, ''-'', changed_at, n.pipeline, n.stage, amount, probability, expected_close_on, closed_on, owner, created_by
		FROM %1$s JOIN names n USING (pipeline_id, stage_id) ORDER BY 1, 2', deals);
END
$$;

SELECT format, relation, count(*) AS columns, count(*) FILTER (WHERE needed) AS needed, string_agg(DISTINCT type, ' ' ORDER BY type) AS types
FROM pipelines.import_formats() GROUP BY 1, 2 ORDER BY 1, 2;
SELECT * FROM pipelines.import_formats() WHERE format IN ('salesforce', 'vtiger');
SELECT count(*) FROM pipelines.import_formats() WHERE meaning IS NULL OR "column" IS NULL OR type IS NULL OR gives IS NULL OR needed IS NULL;

-- ----- salesforce: rows after the change; text as a CSV file has it

SELECT pipelines.create_deals('sf');
ALTER TABLE sf ADD COLUMN sf_id text;
INSERT INTO sf (sf_id, stage_id) VALUES ('006A', pipelines.stage_id('Sales', 'Won')), ('006B', pipelines.stage_id('Sales', 'Quote'));
CREATE TABLE opportunity_history ("Id" text, "OpportunityId" text, "StageName" text, "Amount" text, "CloseDate" text,
	"Probability" text, "ForecastCategory" text, "ExpectedRevenue" text, "CreatedById" text, "CreatedDate" text, "IsDeleted" text);
INSERT INTO opportunity_history VALUES
	('008a', '006A', 'Prospecting', '', '2026-03-31', '10', 'Pipeline', '', '005x', '2026-01-01T10:00:00.000+0000', 'false'),
	-- two rows of one second: their ids order them
	('008c', '006A', 'Order', '1100.50', '2026-03-31', '60', 'Forecast', '660.3', '005x', '2026-01-02T10:00:00.000+0000', 'false'),
	('008B', '006A', 'Quote', '1000', '2026-03-31', '40', 'BestCase', '400', '005y', '2026-01-02T10:00:00.000+0000', 'false'),
	-- the same again, and another zone
	('008d', '006A', 'Order', '1100.5', '2026-03-31', '60', 'Forecast', '660.3', '005x', '2026-01-03T10:00:00.000+0000', 'false'),
	('008e', '006A', 'Closed Won', '1100.5', '2026-01-30', '100', 'Closed', '1100.5', '005x', '2026-02-01T01:00:00.000+0200', 'false'),
	('008f', '006B', 'Prospecting', '5', '2026-05-31', '10', 'Pipeline', '.5', '005x', '2026-01-05T10:00:00Z', 'false'),
	('008g', '006B', 'Quote', '5', '2026-05-31', '25', 'Omitted', '1.25', '005x', '2026-01-06T10:00:00Z', 'false'),
	-- a deleted one
	('008h', '006C', 'Prospecting', '7', '2026-05-31', '10', 'Pipeline', '.7', '005x', '2026-01-05T10:00:00Z', 'true');
SELECT pipelines.import_view('sf_events', 'salesforce', 'opportunity_history', 'sf', '{"key": "sf_id",
	"stages": {"Prospecting": "Lead", "Closed Won": "Won"}, "users": {"005x": "ann"}, "probability": true, "forecast_category": true,
	"constants": {"currency": "EUR"}}');
\d sf_events
SELECT obj_description('sf_events'::regclass);
SELECT * FROM sf_events ORDER BY deal_id, at, seq;
SELECT * FROM pipelines.import_history('sf', 'sf_events');
SELECT * FROM life('sf');
SELECT deal_id, version, forecast_category, currency FROM sf_history ORDER BY 1, 2;
SELECT * FROM pipelines.verify('sf');

-- without ids the order of one second is unknown; without overrides there are none
SELECT pipelines.create_deals('sf2');
CREATE TABLE oh2 AS SELECT translate("OpportunityId", 'ABC', '123')::bigint AS opportunity_id, "StageName" AS stagename, "CreatedDate"::timestamptz AS "CREATED_DATE",
	"Probability"::float8 AS probability, "IsDeleted"::boolean AS is_deleted, substr("Id", 4) AS place FROM opportunity_history;
SELECT pipelines.import_view('sf2_events', 'salesforce', 'oh2', 'sf2', '{"stages": {"Prospecting": "Lead", "Closed Won": "Won"}}');
SELECT * FROM pipelines.import_history('sf2', 'sf2_events');
SELECT count(*) FROM sf2;
DROP VIEW sf2_events;
SELECT pipelines.import_view('sf2_events', 'salesforce', 'oh2', 'sf2', '{"stages": {"Prospecting": "Lead", "Closed Won": "Won"}, "seq": "place", "deleted": true}');
SELECT * FROM sf2_events ORDER BY 1, 2, 3;
-- bytes order ids, and B sorts before c
SELECT * FROM pipelines.import_history('sf2', 'sf2_events');
SELECT * FROM life('sf2');

-- ----- salesforce_field_history: changes of fields

SELECT pipelines.create_deals('sfh');
ALTER TABLE sfh ADD COLUMN region text;
CREATE TABLE field_history (id text, opportunity_id bigint, field text, old_value text, new_value text, created_by_id text, created_date timestamp, is_deleted boolean);
INSERT INTO field_history VALUES
	('017a', 1, 'created', NULL, NULL, 'ann', '2026-01-01 10:00', false),
	('017b', 1, 'Amount', '100.0', '150.0', 'bob', '2026-01-02 10:00', false),
	-- two fields saved at once
	('017c', 1, 'StageName', 'Lead', 'Quote', 'ann', '2026-01-03 10:00', false),
	('017d', 1, 'CloseDate', '2026-02-28', '2026-03-31', 'ann', '2026-01-03 10:00', false),
	-- one field twice within a second
	('017f', 1, 'StageName', 'Order', 'Won', 'ann', '2026-01-04 10:00', false),
	('017e', 1, 'StageName', 'Quote', 'Order', 'ann', '2026-01-04 10:00', false),
	('017g', 1, 'Amount', '150.0', NULL, 'bob', '2026-01-04 10:00', false),
	('017h', 1, 'NextStep', 'x', 'y', 'bob', '2026-01-05 10:00', false),
	-- never moved: its stage is in the record alone
	('017i', 2, 'Amount', '7', '8', 'bob', '2026-01-05 10:00', false),
	('017j', 3, 'StageName', 'Lead', 'Quote', 'bob', '2026-01-05 10:00', true);
SELECT pipelines.import_view('sfh_events', 'salesforce_field_history', 'field_history', 'sfh');
SELECT deal_id, at, seq, stage, amount, expected_close_on AS expected, actor FROM sfh_events ORDER BY 1, 2, 3;
SELECT * FROM pipelines.import_history('sfh', 'sfh_events');
CREATE TABLE opportunity (id bigint, stage_name text, amount numeric, close_date date, created_date timestamptz, region__c text);
INSERT INTO opportunity VALUES (1, 'Won', NULL, '2026-03-31', '2025-12-31 09:00+00', 'north'), (2, 'Quote', 8, '2026-06-30', '2025-12-31 10:00+00', 'south'),
	(4, 'Lead', 9, '2026-07-31', '2025-12-31 11:00+00', NULL);
DROP VIEW sfh_events;
SELECT pipelines.import_view('sfh_events', 'salesforce_field_history', 'field_history', 'sfh', '{"records": "public.opportunity", "fields": {"region": "Region__c"}}');
SELECT * FROM pipelines.import_history('sfh', 'sfh_events');
SELECT * FROM life('sfh');
SELECT deal_id, region FROM sfh ORDER BY 1;
SELECT * FROM pipelines.verify('sfh');

-- ----- hubspot: versions of properties, as rows and as documents

SELECT pipelines.create_deals('hs');
CREATE TABLE property_history (deal_id bigint, name text, value text, "timestamp" text, source text, source_id text, updated_by_user_id bigint);
INSERT INTO property_history VALUES
	-- set a moment before the first stage
	(1, 'amount', '100', '2026-01-01T10:00:00.000Z', 'CRM_UI', 'userId:1'),
	(1, 'dealname', 'vans', '2026-01-01T10:00:00.000Z', 'CRM_UI', 'userId:1'),
	(1, 'dealstage', 'appointmentscheduled', '2026-01-01T10:00:00.123Z', 'CRM_UI', 'userId:1'),
	(1, 'pipeline', 'default', '2026-01-01T10:00:00.123Z', 'CRM_UI', 'userId:1'),
	(1, 'closedate', '1772323200000', '2026-01-01T10:00:00.123Z', 'CRM_UI', 'userId:1'),
	(1, 'amount', '', '2026-01-02T10:00:00.000Z', 'CRM_UI', 'userId:2'),
	(1, 'hs_lastmodifieddate', '1', '2026-01-02T11:00:00.000Z', 'CRM_UI', 'userId:2'),
	-- pipeline and stage at once
	(1, 'pipeline', '77', '2026-01-03T10:00:00.000Z', 'CRM_UI', 'userId:2'),
	(1, 'dealstage', '7702', '2026-01-03T10:00:00.000Z', 'CRM_UI', 'userId:2'),
	(1, 'hs_deal_stage_probability', '0.4', '2026-01-03T10:00:00.500Z', 'CALCULATED', NULL),
	-- a stage that repeats
	(1, 'dealstage', '7702', '2026-01-04T10:00:00.000Z', 'IMPORT', '9'),
	(1, 'dealstage', '7703', '2026-01-05T10:00:00.000Z', 'CRM_UI', 'userId:2'),
	(1, 'closedate', '2026-01-05T10:00:00.000Z', '2026-01-05T10:00:00.000Z', 'CRM_UI', 'userId:2');
UPDATE property_history SET updated_by_user_id = 2 WHERE source_id = 'userId:2';
SELECT pipelines.import_view('hs_events', 'hubspot', 'property_history', 'hs', '{"pipelines": {"default": "Sales", "77": "Service"},
	"stages": {"appointmentscheduled": "Lead", "7702": {"pipeline": "Service", "stage": "Repair"}, "7703": "Ready"}}');
SELECT deal_id, at, seq, pipeline, stage, amount, expected_close_on AS expected, name, created_at, actor FROM hs_events ORDER BY 1, 2, 3;
SELECT * FROM pipelines.import_history('hs', 'hs_events');
SELECT * FROM life('hs');
SELECT * FROM pipelines.verify('hs');
-- the same as documents, newest first; probability is a fraction
SELECT pipelines.create_deals('hsd');
CREATE TABLE deal_document AS
	SELECT deal_id::text AS id, jsonb_object_agg(name, versions) AS "propertiesWithHistory", NULL::jsonb AS properties
	FROM (SELECT deal_id, name, jsonb_agg(jsonb_build_object('value', value, 'timestamp', "timestamp", 'sourceType', source, 'sourceId', source_id, 'updatedByUserId', updated_by_user_id)
			ORDER BY "timestamp" DESC) AS versions
		FROM property_history GROUP BY 1, 2) d GROUP BY 1;
-- two versions within one millisecond, the newer one first
INSERT INTO deal_document VALUES ('2', '{"dealstage": [{"value": "7703", "timestamp": "2026-01-02T10:00:00Z"}, {"value": "7702", "timestamp": "2026-01-02T10:00:00Z"},
	{"value": "appointmentscheduled", "timestamp": "2026-01-01T10:00:00Z", "updatedByUserId": 5, "sourceId": "userId:5"}], "pipeline": [{"value": "77", "timestamp": "2026-01-01T10:00:00Z"}], "odd": 1}');
SELECT pipelines.import_view('hsd_events', 'hubspot', 'deal_document', 'hsd', '{"pipelines": {"default": "Sales", "77": "Service"},
	"stages": {"appointmentscheduled": "Lead", "7702": "Repair", "7703": "Ready"}, "probability": true}');
SELECT * FROM pipelines.import_history('hsd', 'hsd_events');
SELECT * FROM life('hsd');
-- beside the probability, nothing differs
SELECT deal, since, stage, amount, expected FROM life('hs') EXCEPT SELECT deal, since, stage, amount, expected FROM life('hsd');
-- the same as rows has no order; a deal without any stage
SELECT pipelines.create_deals('hsr');
CREATE VIEW versions AS SELECT d.id AS "objectId", p.key AS property, v.value ->> 'value' AS value, v.value ->> 'timestamp' AS "timestamp"
	FROM deal_document d, jsonb_each("propertiesWithHistory") p, jsonb_array_elements(p.value) v WHERE jsonb_typeof(p.value) = 'array' AND d.id = '2'
	UNION ALL SELECT '3', 'amount', '1', '2026-01-01T10:00:00Z';
SELECT pipelines.import_view('hsr_events', 'hubspot', 'versions', 'hsr', '{"pipelines": {"77": "Service"},
	"stages": {"appointmentscheduled": "Lead", "7702": "Repair", "7703": "Ready"}}');
SELECT pipelines.import_history('hsr', 'hsr_events');

-- ----- pipedrive: changes, and a status beside the stage

SELECT pipelines.create_deals('pd');
CREATE TABLE flow (id bigint, item_id bigint, user_id bigint, field_key text, old_value jsonb, new_value jsonb, log_time text);
INSERT INTO flow VALUES
	(1, 1, 8877, 'value', '50', '100.25', '2026-01-02 10:00:00'),
	(2, 1, 8877, 'stage_id', '1', '2', '2026-01-03 10:00:00'),
	(3, 1, 8878, 'user_id', '8877', '8878', '2026-01-03 10:00:00'),
	(4, 1, 8878, 'expected_close_date', 'null', '"2026-04-30"', '2026-01-04 10:00:00'),
	(5, 1, 8878, 'status', '"open"', '"lost"', '2026-01-05 10:00:00'),
	(6, 1, 8878, 'lost_reason', 'null', '"price"', '2026-01-05 10:00:00'),
	(7, 1, 8878, 'status', '"lost"', '"open"', '2026-01-06 10:00:00'),
	(8, 1, 8878, 'stage_id', '2', '5', '2026-01-07 10:00:00'),
	(9, 1, 8878, 'pipeline_id', '1', '2', '2026-01-07 10:00:00');
CREATE TABLE pd_deal (id bigint, stage_id bigint, pipeline_id bigint, status text, value numeric, currency text, user_id bigint, add_time text, lost_reason text);
INSERT INTO pd_deal VALUES (1, 5, 2, 'open', 100.25, 'EUR', 8878, '2026-01-01 10:00:00', NULL), (2, 1, 1, 'won', 7, 'USD', 8877, '2026-01-01 11:00:00', NULL);
SELECT pipelines.import_view('pd_events', 'pipedrive', 'flow', 'pd', '{"records": "pd_deal", "pipelines": {"1": "Sales", "2": "Service"},
	"stages": {"1": "Lead", "2": "Quote", "5": "Repair", "won": "Won", "lost": "Lost"}, "users": {"8877": "ann"}}');
SELECT * FROM pipelines.import_history('pd', 'pd_events');
SELECT * FROM life('pd');
SELECT deal_id, version, close_reason, currency FROM pd_history ORDER BY 1, 2;
SELECT * FROM pipelines.verify('pd');
-- the later change log, with other names
SELECT pipelines.create_deals('pd2');
CREATE VIEW changelog AS SELECT item_id AS deal_id, field_key, old_value #>> '{}' AS old_value, new_value #>> '{}' AS new_value, user_id AS actor_user_id, log_time AS time FROM flow;
SELECT pipelines.import_view('pd2_events', 'pipedrive', 'changelog', 'pd2', '{"records": "pd_deal", "pipelines": {"1": "Sales", "2": "Service"},
	"stages": {"1": "Lead", "2": "Quote", "5": "Repair", "won": "Won", "lost": "Lost"}, "users": {"8877": "ann"}, "time_zone": "Europe/Vienna"}');
SELECT * FROM pipelines.import_history('pd2', 'pd2_events');
SELECT bool_and(a.since - b.since = interval '1 hour' AND (a.stage, a.amount, a.owner, a.actor) IS NOT DISTINCT FROM (b.stage, b.amount, b.owner, b.actor)), count(*)
FROM life('pd') a FULL JOIN life('pd2') b USING (deal, v) WHERE v < 8;

-- two changes of one field at one instant, and nothing that orders them
CREATE VIEW unordered AS SELECT item_id, field_key, old_value, new_value, log_time FROM flow WHERE id < 3
	UNION ALL SELECT 1, 'stage_id', '2', '1', '2026-01-03 10:00:00';
SELECT pipelines.create_deals('pd3');
SELECT pipelines.import_view('pd3_events', 'pipedrive', 'unordered', 'pd3', '{"stages": {"1": "Lead", "2": "Quote"}}');
SELECT pipelines.import_history('pd3', 'pd3_events');
-- how dates are shown changes nothing
CREATE TABLE shown AS SELECT * FROM sfh_events;
SET datestyle = 'SQL, DMY';
SET timezone = 'Asia/Tokyo';
SELECT count(*) FROM (SELECT * FROM sfh_events EXCEPT SELECT * FROM shown) x;
RESET datestyle;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';

-- ----- odoo: values in columns by type

SELECT pipelines.create_deals('od');
CREATE TABLE tracking (id integer, res_id integer, model text, field_name text, date timestamp, author text,
	old_value_integer integer, new_value_integer integer, old_value_float float8, new_value_float float8, old_value_monetary float8, new_value_monetary float8,
	old_value_char text, new_value_char text, old_value_datetime timestamp, new_value_datetime timestamp);
INSERT INTO tracking VALUES
	(1, 1, 'crm.lead', 'expected_revenue', '2026-01-02 10:00', 'ann', NULL, NULL, NULL, NULL, 100, 120.5, NULL, NULL, NULL, NULL),
	(2, 1, 'crm.lead', 'stage_id', '2026-01-03 10:00', 'ann', 1, 2, NULL, NULL, NULL, NULL, 'New', 'Quote', NULL, NULL),
	(3, 1, 'crm.lead', 'user_id', '2026-01-03 10:00', 'ann', 0, 7, NULL, NULL, NULL, NULL, '', 'Mitchell', NULL, NULL),
	(4, 1, 'crm.lead', 'date_deadline', '2026-01-04 10:00', 'ann', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-05-31 00:00'),
	(5, 1, 'crm.lead', 'active', '2026-01-05 10:00', 'bob', 1, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
	(6, 1, 'crm.lead', 'probability', '2026-01-05 10:00', 'bob', NULL, NULL, 22.5, 0, NULL, NULL, NULL, NULL, NULL, NULL),
	(7, 1, 'crm.lead', 'lost_reason_id', '2026-01-05 10:00', 'bob', 0, 3, NULL, NULL, NULL, NULL, '', 'Too expensive', NULL, NULL),
	(8, 1, 'crm.lead', 'active', '2026-01-06 10:00', 'bob', 0, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
	(9, 1, 'crm.lead', 'expected_revenue', '2026-01-06 10:00', 'bob', NULL, NULL, 120.5, 130, NULL, NULL, NULL, NULL, NULL, NULL),
	(10, 1, 'project.task', 'stage_id', '2026-01-07 10:00', 'bob', 1, 2, NULL, NULL, NULL, NULL, 'To do', 'Done', NULL, NULL);
CREATE TABLE lead (id integer, stage_id integer, active boolean, expected_revenue numeric, user_id integer, date_deadline date, create_date timestamp);
INSERT INTO lead VALUES (1, 2, true, 130, 7, '2026-05-31', '2026-01-01 10:00'), (2, 1, false, 5, NULL, NULL, '2026-01-01 11:00');
SELECT pipelines.import_view('od_events', 'odoo', 'tracking', 'od', '{"records": "lead", "stages": {"1": "Lead", "2": "Quote", "lost": "Lost"}, "users": {"7": "mitchell"}, "probability": true}');
SELECT * FROM pipelines.import_history('od', 'od_events');
SELECT * FROM life('od');
SELECT deal_id, version, close_reason FROM od_history WHERE close_reason IS NOT NULL ORDER BY 1, 2;
SELECT * FROM pipelines.verify('od');
-- by name, where no id is known
SELECT pipelines.create_deals('od2');
SELECT pipelines.import_view('od2_events', 'odoo', 'tracking', 'od2', '{"stages": {"New": "Lead", "lost": "Lost"}}');
SELECT * FROM pipelines.import_history('od2', 'od2_events');
SELECT * FROM life('od2');

-- ----- frappe: stays; ids of letters, mapped by a table

SELECT pipelines.create_deals('fr');
CREATE TABLE crm_status_change_log (name text, parent text, parenttype text, idx integer, "from" text, "to" text, from_date timestamp, to_date timestamp, log_owner text);
INSERT INTO crm_status_change_log VALUES
	('a', 'CRM-DEAL-2026-00001', 'CRM Deal', 1, 'Qualification', 'Quote', '2026-01-01 10:00', '2026-01-02 10:00', 'ann'),
	('b', 'CRM-DEAL-2026-00001', 'CRM Deal', 2, 'Quote', 'Won', '2026-01-02 10:00:00.01', '2026-01-03 10:00', 'bob'),
	('c', 'CRM-DEAL-2026-00001', 'CRM Deal', 3, 'Won', '', '2026-01-03 10:00:00.01', NULL, 'bob'),
	-- the row of the present stay is missing
	('d', 'CRM-DEAL-2026-00002', 'CRM Deal', 1, 'Qualification', 'Lost', '2026-01-01 10:00', '2026-01-02 10:00', 'cid'),
	('e', 'CRM-DEAL-2026-00003', 'CRM Deal', 1, 'Qualification', '', '2026-01-01 10:00', NULL, 'ann'),
	('f', 'CRM-LEAD-2026-00001', 'CRM Lead', 1, 'New', '', '2026-01-01 10:00', NULL, 'ann');
CREATE TABLE ids (frappe_name text, deal_id bigint);
INSERT INTO ids VALUES ('CRM-DEAL-2026-00001', 11), ('CRM-DEAL-2026-00002', 12);
SELECT pipelines.import_view('fr_events', 'frappe', 'crm_status_change_log', 'fr', '{"key": {"table": "ids", "foreign": "frappe_name"}, "stages": {"Qualification": "Lead"}, "time_zone": "Asia/Kolkata"}');
-- one is not mapped
SELECT * FROM pipelines.import_history('fr', 'fr_events');
INSERT INTO ids VALUES ('CRM-DEAL-2026-00003', 13);
SELECT * FROM pipelines.import_history('fr', 'fr_events');
SELECT * FROM life('fr');
SELECT * FROM pipelines.verify('fr');

-- ----- vtiger: the stage that was left, the amount that came (V6, rows 30 and 31 of the comparison)

SELECT pipelines.create_deals('vt');
CREATE TABLE vtiger_potstagehistory (historyid integer, potentialid integer, amount numeric(25,8), stage text, probability numeric(7,3), expectedrevenue numeric, closedate date, lastmodified timestamp);
INSERT INTO vtiger_potstagehistory VALUES
	(1, 1, 100, 'Prospecting', 40, 0, '2026-03-31', '2026-01-02 10:00'),
	(2, 1, 120, 'Quote', 60, 0, '2026-04-30', '2026-01-03 10:00'),
	(3, 1, 110, 'Order', 100, 0, '2026-04-30', '2026-01-03 10:00');
CREATE TABLE potentials (potentialid integer, sales_stage text, amount numeric, probability numeric, closingdate date, createdtime text, modifiedtime text);
INSERT INTO potentials VALUES (1, 'Closed Won', 115, 100, '2026-04-30', '2026-01-01 10:00:00', '2026-01-09 10:00:00'),
	(2, 'Prospecting', 9, 10, '2026-06-30', '2026-01-01 11:00:00', '0000-00-00 00:00:00');
SELECT pipelines.import_view('vt_events', 'vtiger', 'vtiger_potstagehistory', 'vt', '{"records": "potentials", "stages": {"Prospecting": "Lead", "Closed Won": "Won"}, "probability": true}');
SELECT * FROM vt_events ORDER BY deal_id, at, seq;
SELECT * FROM pipelines.import_history('vt', 'vt_events');
SELECT * FROM life('vt');
SELECT * FROM pipelines.verify('vt');

-- ----- bitrix24

SELECT pipelines.create_deals('bx', key => '{tenant_id,deal_id}');
CREATE TABLE stagehistory ("ID" integer, "TYPE_ID" integer, "OWNER_ID" integer, "CREATED_TIME" text, "CATEGORY_ID" integer, "STAGE_ID" text);
INSERT INTO stagehistory VALUES (1, 1, 1, '2026-01-01T10:00:00+03:00', 0, 'NEW'), (2, 2, 1, '2026-01-02T10:00:00+03:00', 0, 'QUOTE'),
	(3, 3, 1, '2026-01-02T10:00:00+03:00', 4, 'C4:WON');
SELECT pipelines.import_view('bx_events', 'bitrix24', 'stagehistory', 'bx', '{"pipelines": {"0": "Sales", "4": "Service"}, "stages": {"NEW": "Lead", "QUOTE": "Quote", "C4:WON": "Ready"}}');
SELECT pipelines.import_view('bx_events', 'bitrix24', 'stagehistory', 'bx', '{"pipelines": {"0": "Sales", "4": "Service"}, "stages": {"NEW": "Lead", "QUOTE": "Quote", "C4:WON": "Ready"},
	"constants": {"tenant_id": 7, "owner": "ann", "reason": "from Bitrix24"}}');
SELECT * FROM pipelines.import_history('bx', 'bx_events');
SELECT h.tenant_id, h.deal_id, h.version, h.change, h.valid_from, n.pipeline, n.stage, h.reason, h.owner FROM bx_history h JOIN names n USING (pipeline_id, stage_id) ORDER BY 1, 2, 3;
SELECT * FROM pipelines.verify('bx');

-- ----- an adopted table: its own key, its own names, probabilities as fractions of 1

CREATE TABLE opp (id text PRIMARY KEY, state text NOT NULL, value numeric, prob numeric, close_on date, rep text);
INSERT INTO opp VALUES ('006A', 'Won', 1100.5, 1, '2026-01-30', 'ann'), ('006B', 'Quote', 5, 0.2, '2026-05-31', 'bob'), ('006D', 'Lead', 5, 0.1, '2026-05-31', 'bob');
SELECT count(*) > 0 AS adopted FROM pipelines.adopt('opp', stage => 'state', amount => 'value', close_date => 'close_on', owner => 'rep', probability => 'prob',
	pipeline => 'Sales', apply => true);
SELECT pipelines.import_view('opp_events', 'salesforce', 'opportunity_history', 'opp', '{"deleted": true,
	"stages": {"Prospecting": "Lead", "Closed Won": "Won"}, "probability": true}');
SELECT id, at, seq, stage, value, prob, close_on, actor FROM opp_events ORDER BY id, at, seq;
SELECT * FROM pipelines.import_history('opp', 'opp_events');
SELECT id, state, value, prob, close_on, rep, version, changed_at < '2026-03-01' AS past FROM opp ORDER BY id;
SELECT id, version, change, valid_from, value, prob FROM opp_history ORDER BY 1, 2;
SELECT * FROM pipelines.verify('opp');

-- ----- one life told by each system is one life

CREATE TABLE told AS
	SELECT d AS deal_id, n, timestamp '2025-01-01' + d * interval '7 minutes' + n * interval '1 day' + floor(random() * 80000) * interval '1 second' AS at,
		(ARRAY['Lead', 'Quote', 'Order', 'Won', 'Lost'])[1 + floor(random() * 5)::integer] AS stage,
		CASE WHEN random() < 0.8 THEN floor(random() * 3)::numeric END AS amount
	FROM generate_series(1, 60) d, generate_series(1, 1 + d % 9) n;
CREATE VIEW retold AS
	SELECT *, lag(stage) OVER w AS stage0, lag(amount) OVER w AS amount0, last_value(stage) OVER e AS stage9, last_value(amount) OVER e AS amount9, first_value(at) OVER w AS born
	FROM told WINDOW w AS (PARTITION BY deal_id ORDER BY n), e AS (PARTITION BY deal_id ORDER BY n ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING);
CREATE VIEW told_change AS
	SELECT deal_id, 10 * n AS id, at, 'stage' AS field, stage0 AS old, stage AS new FROM retold WHERE n > 1 AND stage <> stage0
	UNION ALL
	SELECT deal_id, 10 * n + 1, at, 'amount', amount0::text, amount::text FROM retold WHERE n > 1 AND amount IS DISTINCT FROM amount0;
CREATE VIEW told_record AS SELECT DISTINCT deal_id AS id, stage9 AS stage, amount9 AS amount, born FROM retold;

SELECT pipelines.create_deals('t0');
CREATE VIEW t0_events AS SELECT deal_id, at AT TIME ZONE 'UTC' AS at, stage, amount FROM told;
CREATE VIEW t1 AS SELECT deal_id AS opportunity_id, at AS created_date, stage AS stage_name, amount FROM told;
CREATE VIEW t2 AS SELECT deal_id AS opportunity_id, at AS created_date, CASE field WHEN 'stage' THEN 'StageName' ELSE 'Amount' END AS field, old AS old_value, new AS new_value FROM told_change;
CREATE VIEW t2_records AS SELECT id, born AS created_date, stage AS stage_name, amount FROM told_record;
CREATE VIEW t3 AS SELECT deal_id, at AS "timestamp", v.name, v.value FROM retold, LATERAL (VALUES ('dealstage', stage, n = 1 OR stage <> stage0), ('amount', coalesce(amount::text, ''), n = 1 OR amount IS DISTINCT FROM amount0)) v(name, value, said) WHERE v.said;
CREATE VIEW t4 AS SELECT deal_id, at AS time, CASE field WHEN 'stage' THEN 'stage_id' ELSE 'value' END AS field_key, old AS old_value, new AS new_value FROM told_change;
CREATE VIEW t4_records AS SELECT id, born AS add_time, stage AS stage_id, amount AS value FROM told_record;
CREATE VIEW t5 AS SELECT deal_id AS res_id, at AS date, CASE field WHEN 'stage' THEN 'stage_id' ELSE 'expected_revenue' END AS field_name,
	CASE field WHEN 'stage' THEN old END AS old_value_char, CASE field WHEN 'stage' THEN new END AS new_value_char,
	CASE field WHEN 'amount' THEN old::float8 END AS old_value_float, CASE field WHEN 'amount' THEN new::float8 END AS new_value_float FROM told_change;
CREATE VIEW t5_records AS SELECT id, born AS create_date, stage AS stage_id, amount AS expected_revenue FROM told_record;
CREATE VIEW t6 AS SELECT deal_id AS parent, stage AS "from", at AS from_date, lead(stage) OVER w AS "to", lead(at) OVER w AS to_date FROM retold WHERE n = 1 OR stage <> stage0 WINDOW w AS (PARTITION BY deal_id ORDER BY n);
CREATE VIEW t7 AS SELECT deal_id AS potentialid, at AS lastmodified, stage0 AS stage, amount FROM retold WHERE n > 1 AND stage <> stage0;
CREATE VIEW t7_records AS SELECT id AS potentialid, born AS createdtime, stage AS sales_stage, amount FROM told_record;
CREATE VIEW t8 AS SELECT deal_id AS owner_id, at AS created_time, stage AS stage_id FROM told;
-- the way from a history to deals, in one go
CREATE FUNCTION retell(n integer, format text) RETURNS TABLE (deals bigint, differences bigint, other_visits bigint, problems bigint)
LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pipelines.create_deals('r' || n);
	PERFORM pipelines.import_view(format('r%s_events', n), format, ('t' || n)::regclass, ('r' || n)::regclass,
		CASE WHEN to_regclass(format('t%s_records', n)) IS NULL THEN '{}' ELSE jsonb_build_object('records', format('t%s_records', n)) END);
	SELECT i.deals INTO retell.deals FROM pipelines.import_history(('r' || n)::regclass, format('r%s_events', n)::regclass) i;
	EXECUTE format('SELECT count(*) FROM (
		(SELECT deal, since, stage, amount FROM life(''t0'') EXCEPT ALL SELECT deal, since, stage, amount FROM life(''r%1$s''))
		UNION ALL (SELECT deal, since, stage, amount FROM life(''r%1$s'') EXCEPT ALL SELECT deal, since, stage, amount FROM life(''t0''))) x', n) INTO differences;
	EXECUTE format('SELECT count(*) FROM (
		(SELECT deal_id, visit, stage_name, entered_at FROM t0_visits EXCEPT SELECT deal_id, visit, stage_name, entered_at FROM r%1$s_visits)
		UNION ALL (SELECT deal_id, visit, stage_name, entered_at FROM r%1$s_visits EXCEPT SELECT deal_id, visit, stage_name, entered_at FROM t0_visits)) x', n) INTO other_visits;
	SELECT count(*) INTO problems FROM pipelines.verify(('r' || n)::regclass);
	RETURN NEXT;
END
$$;
SELECT deals, rows > 100 AS rows FROM pipelines.import_history('t0', 't0_events');
-- those that know all of it
SELECT f.*, r.* FROM (VALUES (1, 'salesforce'), (2, 'salesforce_field_history'), (3, 'hubspot'), (4, 'pipedrive'), (5, 'odoo')) f(n, format), retell(f.n, f.format) r ORDER BY f.n;
-- and those that know the stages: the same visits
SELECT f.*, r.deals, r.other_visits, r.problems FROM (VALUES (6, 'frappe'), (7, 'vtiger'), (8, 'bitrix24')) f(n, format), retell(f.n, f.format) r ORDER BY f.n;
-- vtiger: amounts are right from a change of the stage on, until the next change of the amount alone
SELECT count(*) > 20 AS some, count(*) FILTER (WHERE v.amount IS DISTINCT FROM t.amount) AS wrong
FROM life('r7') v JOIN retold t ON t.deal_id = v.deal AND t.at AT TIME ZONE 'UTC' = v.since WHERE t.n > 1 AND t.stage <> t.stage0;

-- ----- what is refused

SELECT pipelines.create_deals('no');
SELECT pipelines.import_view('v', 'zoho', 'oh2', 'no');
\echo :LAST_ERROR_SQLSTATE
CREATE TABLE narrow (opportunityid bigint, amount numeric);
SELECT pipelines.import_view('v', 'salesforce', 'narrow', 'no');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.import_view('v', 'salesforce_field_history', 'field_history', 'no', '{"records": "narrow"}');
SELECT pipelines.import_view('v', 'salesforce', 'oh2', 'no', '{"columns": {"StageName": "stage"}}');
SELECT pipelines.import_view('v', 'salesforce', 'oh2', 'no', '{"columns": {"stage_name": "stagename"}}');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.import_view('v', 'salesforce', 'oh2', 'no', '{"seq": "nothing"}');
SELECT pipelines.import_view('v', 'salesforce', 'oh2', 'no', '{"stage": {}}');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.import_view('v', 'salesforce', 'oh2', 'no', '{"stages": ["a"]}');
SELECT pipelines.import_view('v', 'salesforce', 'oh2', 'no', '{"stages": {"a": 1}}');
SELECT pipelines.import_view('v', 'salesforce', 'oh2', 'no', '{"stages": {"a": {"pipeline": "Sales"}}}');
SELECT pipelines.import_view('v', 'salesforce', 'oh2', 'no', '[]');
SELECT pipelines.import_view('v', 'salesforce', 'oh2', 'no', NULL);
SELECT pipelines.import_view('v', 'salesforce', 'oh2', 'no', '{"time_zone": "Europe/Nowhere"}');
SELECT pipelines.import_view('v', 'salesforce', 'oh2', 'no', '{"records": "oh2"}');
SELECT pipelines.import_view('v', 'odoo', 'tracking', 'no', '{"records": "nowhere"}');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.import_view('v', 'odoo', 'tracking', 'no', '{"records": "lead", "record_columns": {"stage_id": "stage"}}');
SELECT pipelines.import_view('v', 'vtiger', 'vtiger_potstagehistory', 'no');
SELECT pipelines.import_view('v', 'salesforce', 'oh2', 'no', '{"key": {"table": "nowhere", "foreign": "id"}}');
SELECT pipelines.import_view('v', 'salesforce', 'oh2', 'no', '{"key": {"table": "ids", "foreign": "id"}}');
SELECT pipelines.import_view('v', 'salesforce', 'oh2', 'no', '{"key": "sf_id"}');
SELECT pipelines.import_view('v', 'salesforce', 'oh2', 'no', '{"key": {"table": "ids"}}');
SELECT pipelines.import_view('v', 'salesforce', 'oh2', 'no', '{"fields": {"region": "probability"}}');
SELECT pipelines.import_view('v', 'salesforce', 'oh2', 'no', '{"fields": {"stage": null}}');
SELECT pipelines.import_view('v', 'salesforce', 'oh2', 'no', '{"constants": {"region": "north"}}');
SELECT pipelines.import_view('a.b.c', 'salesforce', 'oh2', 'no');
SELECT pipelines.import_view('pipelines.v', 'salesforce', 'oh2', 'no');
SELECT pipelines.import_view('names', 'salesforce', 'oh2', 'no');
\echo :LAST_ERROR_SQLSTATE
SELECT pipelines.import_view('v', 'salesforce', 'oh2', 'oh2');
-- nothing is there of what was refused
SELECT to_regclass('v');
-- stages that are not known, and a deal that is no number
SELECT pipelines.import_view('v', 'salesforce', 'oh2', 'no');
SELECT pipelines.import_history('no', 'v');
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM no;
SELECT count(*) FROM no_history;
SELECT pipelines.import_view('v2', 'salesforce', 'opportunity_history', 'no');
SELECT pipelines.import_history('no', 'v2');
\echo :LAST_ERROR_SQLSTATE
-- hostile names and values are quoted
CREATE TABLE "odd ""table""" ("the ""deal""" bigint, "it's" text, "CreatedDate" timestamptz);
INSERT INTO "odd ""table""" VALUES (1, 'it''s "a" lead', '2026-01-01 10:00+00');
SELECT pipelines.import_view('"odd ""view"""', 'salesforce', '"odd ""table"""', 'no',
	$${"columns": {"OpportunityId": "the \"deal\"", "StageName": "it's"}, "stages": {"it's \"a\" lead": "Lead"}, "constants": {"owner": "o'hara"}}$$);
SELECT * FROM "odd ""view""";
-- a column of another name than its part is given once
ALTER TABLE no RENAME COLUMN amount TO worth;
SELECT pipelines.import_view('worth', 'salesforce', 'opportunity_history', 'no', '{"fields": {"worth": "ExpectedRevenue"}, "stages": {"Prospecting": "Lead"}}');
SELECT stage, worth FROM (SELECT stage, worth FROM worth OFFSET 0) w ORDER BY worth LIMIT 3;
-- temporary tables
CREATE TEMP TABLE staged AS SELECT opportunity_id, 'Lead' AS stage_name, "CREATED_DATE" FROM oh2 WHERE opportunity_id = 63;
SELECT pipelines.import_view('staged_events', 'salesforce', 'staged', 'no');
SELECT * FROM pipelines.import_history('no', 'pg_temp.staged_events');
SELECT pipelines.import_view('public.staged_events', 'salesforce', 'staged', 'no');

-- ----- whose call it is, and where the view goes

CREATE SCHEMA app AUTHORIZATION regress_formats_owner;
GRANT USAGE ON SCHEMA app, public TO PUBLIC;
SET ROLE regress_formats_owner;
SET search_path = app, public;
SELECT pipelines.create_deals('deals');
SELECT pipelines.import_view('events', 'salesforce', 'oh2', 'deals');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
GRANT SELECT ON public.oh2 TO regress_formats_owner, regress_formats_clerk;
SET ROLE regress_formats_clerk;
SELECT pipelines.import_view('public.events', 'salesforce', 'oh2', 'deals');
\echo :LAST_ERROR_SQLSTATE
SET ROLE regress_formats_owner;
SELECT pipelines.import_view('events', 'salesforce', 'oh2', 'deals', '{"stages": {"Prospecting": "Lead", "Closed Won": "Won"}, "seq": "place"}');
SELECT * FROM pipelines.import_history('deals', 'events');
SELECT count(*) FROM deals;
RESET ROLE;
RESET search_path;
SELECT c.oid::regclass, r.rolname FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner WHERE c.relname = 'events';
-- views of built-in functions alone outlive the extension
SELECT DISTINCT e.extname FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid JOIN pg_rewrite w ON w.oid = d.objid WHERE w.ev_class = 'app.events'::regclass;

\c :home
DROP DATABASE regress_pipelines_formats;
DROP ROLE regress_formats_owner, regress_formats_clerk;
