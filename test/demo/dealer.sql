-- dealer.sql: what a car dealer defines before the first customer comes in.
--
-- Three pipelines of five stages each, from templates, and one table of deals
-- for all of them.

\o /dev/null

CREATE EXTENSION pipelines;

SELECT pipelines.create_pipeline('New cars', template => 'new_cars');
SELECT pipelines.create_pipeline('Used cars', template => 'used_cars');
SELECT pipelines.create_pipeline('Repair', template => 'repair');
SELECT pipelines.create_deals('deals', currency => 'EUR');

-- Who buys a new car has sat in it: no stage of that pipeline may be skipped.
UPDATE pipelines.pipeline SET mode = 'strict' WHERE name = 'New cars';

\o
