-- Templates (R-13.4): what they contain, and that a pipeline can be made from each.
-- In a database of its own, since schema pipelines is one per database.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT current_database() AS home \gset
DROP DATABASE IF EXISTS regress_pipelines_templates;
CREATE DATABASE regress_pipelines_templates;
\c regress_pipelines_templates
SET lc_messages = 'C';
SET client_min_messages = warning;
CREATE EXTENSION pipelines;

-- they need no definition tables
SELECT template, min(kind) AS kind, count(*) AS stages, count(*) FILTER (WHERE outcome = 'open') AS open,
	string_agg(DISTINCT outcome, ', ' ORDER BY outcome) AS outcomes
FROM pipelines.templates() GROUP BY template ORDER BY template COLLATE "C";
-- the fixed names are all there
SELECT array_agg(n) FROM unnest('{standard,new_cars,used_cars,repair,new_business,upsell,renewal,smb,enterprise,hardware_sales,hardware_service,property_sale,property_rental,insurance_consumer,insurance_business,inbound,outbound,post_sale,deals}'::text[]) AS n
WHERE n NOT IN (SELECT template FROM pipelines.templates());
-- S9: eight stages; S15: needs analysis 25, quote 70
SELECT "position", stage, outcome, probability, forecast_category, stall_limit FROM pipelines.templates() WHERE template = 'standard';
-- S56: five steps; what closes a car deal are two stages, since an outcome is said, never inferred
SELECT template, "position", stage, outcome, probability FROM pipelines.templates()
WHERE template IN ('new_cars', 'used_cars', 'repair');
-- every stage says what is to be done
SELECT template, stage FROM pipelines.templates() WHERE stage_description IS NULL OR description IS NULL;
-- S15: no falling probabilities; S13 to S14: probability fits outcome; open ones have a limit
SELECT * FROM (SELECT template, stage, outcome, probability, stall_limit,
	lag(probability) OVER (PARTITION BY template, outcome ORDER BY "position") AS before FROM pipelines.templates()) AS t
WHERE probability < before OR (outcome = 'won') <> (probability = 100)
	OR (outcome IN ('lost', 'done', 'disqualified') AND probability <> 0)
	OR (outcome = 'open') <> (stall_limit IS NOT NULL);
-- S7: usual numbers of stages
SELECT template, kind, count(*) FROM pipelines.templates() GROUP BY template, kind
HAVING (kind = 'new_business' AND count(*) NOT BETWEEN 5 AND 8) OR (kind IN ('upsell', 'renewal') AND count(*) NOT BETWEEN 3 AND 5);
-- S22: the same stage in smb and enterprise
SELECT stage FROM pipelines.templates() WHERE template = 'smb'
INTERSECT SELECT stage FROM pipelines.templates() WHERE template = 'enterprise' ORDER BY 1;

-- one pipeline from each; nothing to advise
SELECT count(pipelines.create_pipeline(t.template, template => t.template))
FROM (SELECT DISTINCT template FROM pipelines.templates() ORDER BY 1) AS t;
SELECT * FROM pipelines.check_definitions();
SELECT count(*) FROM (
	SELECT p.name, s."position", c.name, c.description, s.outcome, s.probability, s.forecast_category, s.stall_limit
	FROM pipelines.pipeline p JOIN pipelines.pipeline_stage s USING (pipeline_id) JOIN pipelines.stage c USING (stage_id)
	EXCEPT
	SELECT template, "position", stage, stage_description, outcome, probability, forecast_category, stall_limit
	FROM pipelines.templates()) AS difference;
-- the picklist has each name once
SELECT count(*) = (SELECT count(DISTINCT stage) FROM pipelines.templates()) AS shared FROM pipelines.stage;
SELECT pipelines.stage_id('smb', 'Evaluation') = pipelines.stage_id('enterprise', 'Evaluation') AS same_stage;

\c :home
DROP DATABASE regress_pipelines_templates;
