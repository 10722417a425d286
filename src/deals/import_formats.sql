-------------------------------------------------------------------------------
-- import_formats.sql
--   Histories as other systems write them become events for import_history().
--
-- import_view() makes an ordinary view of built-in functions over a table that
-- was exported from another system, and owns nothing: what the system called
-- its columns is known here (_import_format_columns()), what they mean is said
-- by a query of one of five kinds (_import_events()).  Values travel as text
-- until the last step, where they become what the column of the deals is.
--
-- Nothing is guessed: where a log leaves something open (the order within one
-- second, the state before the first change), the view leaves it open, too,
-- and import_history() refuses what is ambiguous or unknown.
-------------------------------------------------------------------------------

-- What each system calls its columns.
--
-- relation: source (the exported history), document (the same as JSON), field
-- (not a column, but a value of the column that names the changed field),
-- records (the present records of that system, which some logs need).
-- gives: the part that it plays in an event; @ marks parts of the log itself.
--
-- Where this is from, in plain words:
-- salesforce: the reference of the object OpportunityHistory: a row for each
--   change of stage, amount, probability or close date, with the values after
--   it.  Its instants have no fractions of a second, and nothing is promised
--   about the order of two rows of one second.
-- salesforce_field_history: the reference of OpportunityFieldHistory: a row
--   for each changed field, the old and the new value.  Rows that name no
--   field of ours (such as "created") only say that the record was there.
-- hubspot: the property history of the CRM API (a list of versions of each
--   property, newest first), and the tables that data pipelines make of it,
--   one row for each version.
-- pipedrive: the changes among the updates of a deal (flow), and the later
--   change log of a deal, which calls the same things time and actor_user_id
--   and to which the exporter adds the deal's id.  Won and lost are a status
--   beside the stage.
-- odoo: the source of the model mail.tracking.value, versions 10 to 19: values
--   of links stand as id and as name, amounts as float or (until 16) monetary,
--   days as datetime, yes and no as integer.  Joined by the exporter with
--   mail_message (res_id, model, date, author_id) and with the names of the
--   fields.  A lost lead is one that is not active.
-- frappe: the source of the child table CRM Status Change Log: one row for
--   each stay in a status; the row of the present stay has no end.  When a
--   stay ends, its log_owner is overwritten by whoever ended it.
-- vtiger: the source of the module Potentials: a row is written when the stage
--   is changed, with the stage that is LEFT, but the amount, probability and
--   date that are saved together with the new stage; the expected revenue was
--   always 0 for years.  So the last stage is found in the record alone.
-- bitrix24: the reference of the method crm.stagehistory.list: a row for each
--   stage that was entered.
CREATE FUNCTION pipelines._import_format_columns()
RETURNS TABLE (n bigint, format text, relation text, "column" text, aliases text[], type text,
			   needed boolean, gives text[], meaning text)
LANGUAGE sql IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10 ROWS 120
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT row_number() OVER (), v.*
	FROM (VALUES
	('salesforce', 'source', 'OpportunityId', '{}'::text[], 'text', true, '{@key}'::text[],
	 'The opportunity.'),
	('salesforce', 'source', 'CreatedDate', '{}', 'timestamptz', true, '{@at}',
	 'When the change was made.'),
	('salesforce', 'source', 'StageName', '{}', 'text', true, '{stage}',
	 'Stage after the change.'),
	('salesforce', 'source', 'Id', '{}', 'text', false, '{@seq}',
	 'Orders rows of one instant.  Salesforce does not promise that ids ascend; without the column such rows are refused.'),
	('salesforce', 'source', 'CreatedById', '{}', 'text', false, '{@actor}',
	 'Who made the change.'),
	('salesforce', 'source', 'Amount', '{}', 'numeric', false, '{amount}',
	 'Amount after the change.'),
	('salesforce', 'source', 'CurrencyIsoCode', '{}', 'text', false, '{currency}',
	 'Currency of the amount, where the organisation has several.'),
	('salesforce', 'source', 'CloseDate', '{}', 'date', false, '{expected_close_on,closed_on}',
	 'Expected day of closing; of a closed opportunity the day of its closing.'),
	('salesforce', 'source', 'Probability', '{}', 'numeric', false, '{probability}',
	 'In percent; taken as an override with the option probability.'),
	('salesforce', 'source', 'ForecastCategory', '{}', 'text', false, '{forecast_category}',
	 'Taken as an override with the option forecast_category.'),
	('salesforce', 'source', 'IsDeleted', '{}', 'boolean', false, '{@deleted}',
	 'Rows of deleted opportunities are left out, unless the option deleted is true.'),

	('salesforce_field_history', 'source', 'OpportunityId', '{}', 'text', true, '{@key}',
	 'The opportunity.'),
	('salesforce_field_history', 'source', 'CreatedDate', '{}', 'timestamptz', true, '{@at}',
	 'When the change was made.'),
	('salesforce_field_history', 'source', 'Field', '{}', 'text', true, '{@field}',
	 'Which field was changed.'),
	('salesforce_field_history', 'source', 'OldValue', '{}', 'text', true, '{@old}',
	 'Its value before; the first one of a field is what it began with.'),
	('salesforce_field_history', 'source', 'NewValue', '{}', 'text', true, '{@new}',
	 'Its value after.'),
	('salesforce_field_history', 'source', 'Id', '{}', 'text', false, '{@seq}',
	 'Orders changes of one field within one instant, as in format salesforce.'),
	('salesforce_field_history', 'source', 'CreatedById', '{}', 'text', false, '{@actor}',
	 'Who made the change.'),
	('salesforce_field_history', 'source', 'IsDeleted', '{}', 'boolean', false, '{@deleted}',
	 'As in format salesforce.'),
	('salesforce_field_history', 'field', 'StageName', '{}', 'text', true, '{stage}',
	 'Stage.'),
	('salesforce_field_history', 'field', 'Amount', '{}', 'numeric', false, '{amount}',
	 'Amount.'),
	('salesforce_field_history', 'field', 'CurrencyIsoCode', '{}', 'text', false, '{currency}',
	 'Currency of the amount.'),
	('salesforce_field_history', 'field', 'CloseDate', '{}', 'date', false, '{expected_close_on,closed_on}',
	 'Day of closing, as in format salesforce.'),
	('salesforce_field_history', 'field', 'Probability', '{}', 'numeric', false, '{probability}',
	 'In percent; with the option probability.'),
	('salesforce_field_history', 'field', 'ForecastCategoryName', '{ForecastCategory}', 'text', false, '{forecast_category}',
	 'With the option forecast_category.'),
	('salesforce_field_history', 'records', 'Id', '{}', 'text', true, '{@key}',
	 'The opportunity.  The records also have the fields above as columns.'),
	('salesforce_field_history', 'records', 'CreatedDate', '{}', 'timestamptz', true, '{@created}',
	 'When the opportunity was made.'),

	('hubspot', 'source', 'deal_id', '{dealId,objectId,hs_object_id,id}', 'bigint', true, '{@key}',
	 'The deal.'),
	('hubspot', 'source', 'timestamp', '{}', 'timestamptz', true, '{@at}',
	 'When the property got the value; a number means milliseconds since 1970.'),
	('hubspot', 'source', 'name', '{property,propertyName}', 'text', true, '{@field}',
	 'Which property.'),
	('hubspot', 'source', 'value', '{}', 'text', true, '{@new}',
	 'The value that it got.'),
	('hubspot', 'source', 'updatedByUserId', '{sourceId}', 'text', false, '{@actor}',
	 'Who set it, or what: the id of the user, else of the source.'),
	('hubspot', 'document', 'id', '{deal_id,hs_object_id}', 'bigint', true, '{@key}',
	 'The deal.'),
	('hubspot', 'document', 'propertiesWithHistory', '{}', 'jsonb', true, '{@document}',
	 'For each property the list of its versions, newest first: value, timestamp, updatedByUserId or sourceId.  A source that has this column is read as documents.'),
	('hubspot', 'field', 'dealstage', '{}', 'text', true, '{stage}',
	 'Id of the stage.  What was set before the first stage counts from there.'),
	('hubspot', 'field', 'pipeline', '{}', 'text', false, '{pipeline}',
	 'Id of the pipeline.'),
	('hubspot', 'field', 'amount', '{}', 'numeric', false, '{amount}',
	 'Amount.'),
	('hubspot', 'field', 'deal_currency_code', '{}', 'text', false, '{currency}',
	 'Currency of the amount.'),
	('hubspot', 'field', 'closedate', '{}', 'timestamptz', false, '{expected_close_on,closed_on}',
	 'Expected instant of closing; of a closed deal that of its closing.  Its day in the option time_zone.'),
	('hubspot', 'field', 'hubspot_owner_id', '{}', 'text', false, '{owner}',
	 'Id of the owner.'),
	('hubspot', 'field', 'dealname', '{}', 'text', false, '{name}',
	 'Name of the deal.'),
	('hubspot', 'field', 'createdate', '{}', 'timestamptz', false, '{created_at}',
	 'When the deal was made.'),
	('hubspot', 'field', 'closed_lost_reason', '{}', 'text', false, '{close_reason}',
	 'Why it was lost.'),
	('hubspot', 'field', 'hs_deal_stage_probability', '{}', 'numeric', false, '{probability}',
	 'A fraction of 1; with the option probability.'),
	('hubspot', 'field', 'hs_manual_forecast_category', '{}', 'text', false, '{forecast_category}',
	 'With the option forecast_category.'),

	('pipedrive', 'source', 'item_id', '{deal_id}', 'bigint', true, '{@key}',
	 'The deal.'),
	('pipedrive', 'source', 'log_time', '{time}', 'timestamptz', true, '{@at}',
	 'When the change was made, in UTC.'),
	('pipedrive', 'source', 'field_key', '{}', 'text', true, '{@field}',
	 'Which field was changed.'),
	('pipedrive', 'source', 'old_value', '{}', 'text', true, '{@old}',
	 'Its value before; the first one of a field is what it began with.'),
	('pipedrive', 'source', 'new_value', '{}', 'text', true, '{@new}',
	 'Its value after.'),
	('pipedrive', 'source', 'id', '{}', 'bigint', false, '{@seq}',
	 'Orders changes of one field within one instant; without it such changes are refused.'),
	('pipedrive', 'source', 'user_id', '{actor_user_id}', 'bigint', false, '{@actor}',
	 'Who made the change.'),
	('pipedrive', 'field', 'stage_id', '{}', 'bigint', true, '{stage}',
	 'Id of the stage: the option stages says what it is called here.'),
	('pipedrive', 'field', 'status', '{}', 'text', false, '{@status}',
	 'While it is won, lost or deleted, that is the stage: the option stages says what it is called here.'),
	('pipedrive', 'field', 'pipeline_id', '{}', 'bigint', false, '{pipeline}',
	 'Id of the pipeline: the option pipelines says what it is called here.'),
	('pipedrive', 'field', 'value', '{}', 'numeric', false, '{amount}',
	 'Amount.'),
	('pipedrive', 'field', 'currency', '{}', 'text', false, '{currency}',
	 'Currency of the amount.'),
	('pipedrive', 'field', 'expected_close_date', '{}', 'date', false, '{expected_close_on}',
	 'Expected day of closing.'),
	('pipedrive', 'field', 'user_id', '{owner_id}', 'bigint', false, '{owner}',
	 'Id of the owner.'),
	('pipedrive', 'field', 'lost_reason', '{}', 'text', false, '{close_reason}',
	 'Why it was lost.'),
	('pipedrive', 'field', 'probability', '{}', 'numeric', false, '{probability}',
	 'In percent; with the option probability.'),
	('pipedrive', 'records', 'id', '{}', 'bigint', true, '{@key}',
	 'The deal.  The records also have the fields above as columns.'),
	('pipedrive', 'records', 'add_time', '{}', 'timestamptz', true, '{@created}',
	 'When the deal was made.'),

	('odoo', 'source', 'res_id', '{}', 'integer', true, '{@key}',
	 'The lead, from mail_message.'),
	('odoo', 'source', 'date', '{create_date}', 'timestamptz', true, '{@at}',
	 'When the change was made, in UTC.'),
	('odoo', 'source', 'field_name', '{name,field}', 'text', true, '{@field}',
	 'Which field was changed, by its technical name, from ir_model_fields (before Odoo 13: column field).'),
	('odoo', 'source', 'id', '{}', 'integer', false, '{@seq}',
	 'Id of the tracking value: orders changes of one field within one instant; without it such changes are refused.'),
	('odoo', 'source', 'author_id', '{author,create_uid}', 'text', false, '{@actor}',
	 'Who made the change.'),
	('odoo', 'source', 'model', '{}', 'text', false, '{@model}',
	 'Rows of other models than crm.lead are left out; the option model names another one.'),
	('odoo', 'source', 'old_value_char', '{}', 'text', true, '{@old}',
	 'Value before, where it is a name; the first one of a field is what it began with.'),
	('odoo', 'source', 'new_value_char', '{}', 'text', true, '{@new}',
	 'Value after, where it is a name.'),
	('odoo', 'source', 'old_value_integer', '{}', 'integer', false, '{@old_integer}',
	 'Value before, where it is a number, an id, or 0 and 1.'),
	('odoo', 'source', 'new_value_integer', '{}', 'integer', false, '{@new_integer}',
	 'Value after, likewise.'),
	('odoo', 'source', 'old_value_float', '{}', 'float8', false, '{@old_float}',
	 'Value before, where it is a number with decimals.'),
	('odoo', 'source', 'new_value_float', '{}', 'float8', false, '{@new_float}',
	 'Value after, likewise.'),
	('odoo', 'source', 'old_value_monetary', '{}', 'float8', false, '{@old_monetary}',
	 'Value before, where it is an amount, until Odoo 16.'),
	('odoo', 'source', 'new_value_monetary', '{}', 'float8', false, '{@new_monetary}',
	 'Value after, likewise.'),
	('odoo', 'source', 'old_value_datetime', '{}', 'timestamp', false, '{@old_datetime}',
	 'Value before, where it is a day or an instant.'),
	('odoo', 'source', 'new_value_datetime', '{}', 'timestamp', false, '{@new_datetime}',
	 'Value after, likewise.'),
	('odoo', 'field', 'stage_id', '{}', 'text', true, '{stage}',
	 'Stage: its id, if the option stages knows it, else its name then.'),
	('odoo', 'field', 'active', '{}', 'boolean', false, '{@active}',
	 'While it is false, the stage is lost: the option stages says what it is called here.'),
	('odoo', 'field', 'expected_revenue', '{planned_revenue}', 'numeric', false, '{amount}',
	 'Amount.'),
	('odoo', 'field', 'user_id', '{}', 'text', false, '{owner}',
	 'Owner: the id, if the option users knows it, else the name.'),
	('odoo', 'field', 'team_id', '{}', 'text', false, '{team}',
	 'Team.'),
	('odoo', 'field', 'date_deadline', '{}', 'date', false, '{expected_close_on}',
	 'Expected day of closing.'),
	('odoo', 'field', 'lost_reason_id', '{lost_reason}', 'text', false, '{close_reason}',
	 'Why it was lost.'),
	('odoo', 'field', 'probability', '{}', 'numeric', false, '{probability}',
	 'In percent; with the option probability.'),
	('odoo', 'records', 'id', '{}', 'integer', true, '{@key}',
	 'The lead.  The records also have the fields above as columns; links as id or name, as in the log.'),
	('odoo', 'records', 'create_date', '{}', 'timestamptz', true, '{@created}',
	 'When the lead was made.'),

	('frappe', 'source', 'parent', '{}', 'text', true, '{@key}',
	 'The deal.'),
	('frappe', 'source', 'from_date', '{}', 'timestamptz', true, '{@at}',
	 'When the stay began, in the time zone of the site.'),
	('frappe', 'source', 'from', '{}', 'text', true, '{stage}',
	 'Status of the stay.'),
	('frappe', 'source', 'to', '{}', 'text', true, '{@to}',
	 'Status that followed, empty while the stay lasts.  Read where the row of the next stay is missing.'),
	('frappe', 'source', 'to_date', '{}', 'timestamptz', true, '{@to_at}',
	 'When the stay ended.'),
	('frappe', 'source', 'idx', '{}', 'integer', false, '{@seq}',
	 'Orders stays that began in one instant; without it they are refused.'),
	('frappe', 'source', 'log_owner', '{}', 'text', false, '{@actor}',
	 'Who ended the stay, or began the present one.'),
	('frappe', 'source', 'parenttype', '{}', 'text', false, '{@model}',
	 'Rows of other documents than CRM Deal are left out; the option model names another one.'),

	('vtiger', 'source', 'potentialid', '{}', 'bigint', true, '{@key}',
	 'The opportunity.'),
	('vtiger', 'source', 'lastmodified', '{}', 'timestamptz', true, '{@at}',
	 'When the stage was changed.'),
	('vtiger', 'source', 'stage', '{}', 'text', true, '{stage}',
	 'Stage that was left.'),
	('vtiger', 'source', 'historyid', '{}', 'bigint', false, '{@seq}',
	 'Orders changes of one instant; without it they are refused.'),
	('vtiger', 'source', 'amount', '{}', 'numeric', false, '{amount}',
	 'Amount after the change.'),
	('vtiger', 'source', 'closedate', '{closingdate}', 'date', false, '{expected_close_on}',
	 'Expected day of closing after the change.'),
	('vtiger', 'source', 'probability', '{}', 'numeric', false, '{probability}',
	 'In percent, after the change; with the option probability.'),
	('vtiger', 'records', 'potentialid', '{}', 'bigint', true, '{@key}',
	 'The opportunity, from vtiger_potential joined with vtiger_crmentity.  The records also have amount, closingdate and probability.'),
	('vtiger', 'records', 'sales_stage', '{}', 'text', true, '{stage}',
	 'Its present stage, which is not in the history.'),
	('vtiger', 'records', 'createdtime', '{}', 'timestamptz', true, '{@created}',
	 'When it was made.'),
	('vtiger', 'records', 'modifiedtime', '{}', 'timestamptz', false, '{@modified}',
	 'When it was changed last: since then its present values hold.'),

	('bitrix24', 'source', 'OWNER_ID', '{}', 'bigint', true, '{@key}',
	 'The deal.'),
	('bitrix24', 'source', 'CREATED_TIME', '{}', 'timestamptz', true, '{@at}',
	 'When it entered the stage.'),
	('bitrix24', 'source', 'STAGE_ID', '{}', 'text', true, '{stage}',
	 'Id of the stage.'),
	('bitrix24', 'source', 'CATEGORY_ID', '{}', 'text', false, '{pipeline}',
	 'Id of the pipeline: the option pipelines says what it is called here.'),
	('bitrix24', 'source', 'ID', '{}', 'bigint', false, '{@seq}',
	 'Orders rows of one instant; without it they are refused.')
	) AS v(format, relation, "column", aliases, type, needed, gives, meaning)
$$;
COMMENT ON FUNCTION pipelines._import_format_columns() IS
	'What import_formats() shows, with the other names that a column may have and the parts that it plays.';

CREATE FUNCTION pipelines.import_formats()
RETURNS TABLE (format text, relation text, "column" text, type text, needed boolean, gives text, meaning text)
LANGUAGE sql IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100 ROWS 120
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT c.format, c.relation, c."column", c.type, c.needed,
		replace(array_to_string(c.gives, ', '), '@', ''), c.meaning
	FROM pipelines._import_format_columns() c
	ORDER BY c.n
$$;
COMMENT ON FUNCTION pipelines.import_formats() IS
'The formats that import_view() reads, and the columns that it looks for. relation: source, the exported history; document, the same as JSON; records, the present records, which the option records names (format vtiger needs them); field, not a column but a value of the column that names the changed field. A column is found by its name, whatever its case and with or without underscores. type: what is in it; text that can be read as that will do. gives: the part that it plays in an event.';

-- Where a column is: as the option columns says, else by its name or one of
-- the others, as it is, in another case, or without underscores.  What the
-- option gives to one part is not taken for another.
CREATE FUNCTION pipelines._import_find_column(relation regclass, wanted text[], named jsonb)
RETURNS name
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT a.attname
	FROM pg_attribute a
		CROSS JOIN LATERAL unnest($2) WITH ORDINALITY w(name, n)
	WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
		AND CASE WHEN jsonb_typeof($3 -> $2[1]) = 'string' THEN a.attname = $3 ->> $2[1]
			ELSE lower(replace(a.attname, '_', '')) = lower(replace(w.name, '_', ''))
				AND NOT EXISTS (SELECT FROM jsonb_each_text($3) o WHERE o.value = a.attname) END
	ORDER BY w.n, a.attname = w.name DESC, lower(a.attname) = lower(w.name) DESC, a.attnum
	LIMIT 1
$$;
COMMENT ON FUNCTION pipelines._import_find_column(regclass, text[], jsonb) IS
	'The column of a relation that bears one of these names, or that the option columns gives to the first of them.';

-- SQL text for a column as text; instants and days in ISO form whatever
-- DateStyle is, JSON strings without their quotes.
CREATE FUNCTION pipelines._import_text(relation regclass, alias text, column_name name)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN $3 IS NULL THEN 'NULL::text'
		ELSE (SELECT format(CASE WHEN t.typcategory IN ('S', 'N', 'B') OR t.typname = 'uuid'
					THEN '%1$s.%2$I::text' ELSE '(to_jsonb(%1$s.%2$I) #>> ''{}'')' END, $2, $3)
			FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
			WHERE a.attrelid = $1 AND a.attname = $3 AND a.attnum > 0) END
$$;
COMMENT ON FUNCTION pipelines._import_text(regclass, text, name) IS
	'SQL text that gives a column as text.';

-- SQL text that makes of text what a column of the deals is.  A number where
-- an instant is wanted means milliseconds since 1970; instants without a zone
-- were written down in the zone that the caller says; MySQL's date of zeros is
-- none.
CREATE FUNCTION pipelines._import_value(expression text, type oid, zone text)
RETURNS text
LANGUAGE sql IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE
		WHEN $2 IN ('date'::regtype, 'timestamptz'::regtype, 'timestamp'::regtype) THEN
			format(CASE $2
				WHEN 'timestamptz'::regtype THEN $q$CASE WHEN btrim(%1$s) = '' OR %1$s ~ '^[ ]*0000-00-00' THEN NULL
			WHEN %1$s ~ '^[ ]*-?[0-9]{9,15}[ ]*$' THEN timestamptz '1970-01-01 00:00:00+00' + %1$s::bigint * interval '1 millisecond'
			WHEN %1$s ~* ':[0-9]{2}([.][0-9]+)?[ ]*(z|utc|[+-][0-9]{2}(:?[0-9]{2})?)[ ]*$' THEN %1$s::timestamptz
			ELSE %1$s::timestamp AT TIME ZONE %2$L END$q$
				ELSE $q$CASE WHEN btrim(%1$s) = '' OR %1$s ~ '^[ ]*0000-00-00' THEN NULL
			WHEN %1$s ~ '^[ ]*-?[0-9]{9,15}[ ]*$' THEN ((timestamptz '1970-01-01 00:00:00+00' + %1$s::bigint * interval '1 millisecond') AT TIME ZONE %2$L)::%3$s
			WHEN %1$s ~* ':[0-9]{2}([.][0-9]+)?[ ]*(z|utc|[+-][0-9]{2}(:?[0-9]{2})?)[ ]*$' THEN (%1$s::timestamptz AT TIME ZONE %2$L)::%3$s
			ELSE %1$s::timestamp::%3$s END$q$ END, $1, $3, $2::regtype)
		WHEN $2 IN ('text'::regtype, 'varchar'::regtype) THEN format('nullif(%s, '''')', $1)
		WHEN $2 IN ('smallint'::regtype, 'integer'::regtype, 'bigint'::regtype) THEN
			format('nullif(btrim(%s), '''')::numeric::%s', $1, $2::regtype)
		ELSE format('nullif(btrim(%s), '''')::%s', $1, $2::regtype) END
$$;
COMMENT ON FUNCTION pipelines._import_value(text, oid, text) IS
	'SQL text that turns a text expression into a value of a type.';

-- SQL text that makes an instant of a column.
CREATE FUNCTION pipelines._import_instant(relation regclass, alias text, column_name name, zone text)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE (SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = $1 AND a.attname = $3 AND a.attnum > 0)
		WHEN 'timestamptz'::regtype THEN format('%s.%I', $2, $3)
		WHEN 'timestamp'::regtype THEN format('%s.%I AT TIME ZONE %L', $2, $3, $4)
		ELSE pipelines._import_value(pipelines._import_text($1, $2, $3), 'timestamptz'::regtype, $4) END
$$;
COMMENT ON FUNCTION pipelines._import_instant(regclass, text, name, text) IS
	'SQL text that gives a column as an instant.';

-- SQL text that translates a foreign value; what the map does not know stays.
CREATE FUNCTION pipelines._import_mapped(expression text, map jsonb, part text)
RETURNS text
LANGUAGE sql IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN coalesce($2, '{}') = '{}' THEN $1
		WHEN EXISTS (SELECT FROM jsonb_each($2) e WHERE jsonb_typeof(e.value) = 'object')
			THEN format('coalesce(%1$L::jsonb -> (%2$s) ->> %3$L, CASE WHEN jsonb_typeof(%1$L::jsonb -> (%2$s)) = ''string'' THEN %1$L::jsonb ->> (%2$s) END, %2$s)', $2, $1, $3)
		ELSE format('coalesce(%1$L::jsonb ->> (%2$s), %2$s)', $2, $1) END
$$;
COMMENT ON FUNCTION pipelines._import_mapped(text, jsonb, text) IS
	'SQL text that looks a value up in a map, whose entries are strings or objects.';

-- Which columns of the deals an import gives, from which foreign fields, in
-- slots: role (stage, pipeline, @status, @active, or a part or column of the
-- deals), the column of the deals and its type, names of the field, whether it
-- must be there.
CREATE FUNCTION pipelines._import_slots(format text, source regclass, deals regclass, options jsonb)
RETURNS TABLE (slot bigint, role text, deals_column text, type oid, names text[], needed boolean, said boolean)
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000 ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
	WITH deals_column AS (
		SELECT a.attname::text AS name, a.atttypid AS type, m.role
		FROM pg_attribute a
			LEFT JOIN pipelines._layout_columns($3) m ON m.attnum = a.attnum
		WHERE a.attrelid = $3 AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
	), wish AS (
		SELECT c.n, g.role, c."column" || c.aliases AS names, c.needed, false AS said
		FROM pipelines._import_format_columns() c
			CROSS JOIN LATERAL unnest(c.gives) g(role)
		WHERE c.format = $1 AND (g.role !~ '^@' OR g.role IN ('@status', '@active'))
			AND c.relation = CASE WHEN $1 IN ('salesforce_field_history', 'hubspot', 'pipedrive', 'odoo') THEN 'field' ELSE 'source' END
			AND NOT coalesce($4 -> 'fields', '{}') ? g.role
			AND (g.role NOT IN ('probability', 'forecast_category') OR coalesce(($4 ->> g.role)::boolean, false))
		UNION ALL
		SELECT 1000 + row_number() OVER (ORDER BY f.key), f.key, ARRAY[f.value], true, true
		FROM jsonb_each_text(coalesce($4 -> 'fields', '{}')) f
		WHERE f.value IS NOT NULL
	)
	SELECT row_number() OVER (ORDER BY w.n, w.role), w.role, d.name, coalesce(d.type, 'text'::regtype), w.names, w.needed, w.said
	FROM wish w
		-- by its part, else by its name
		LEFT JOIN LATERAL (SELECT d.name, d.type FROM deals_column d
			WHERE d.role = w.role OR d.name = w.role ORDER BY d.role = w.role DESC NULLS LAST LIMIT 1) d
			ON w.role NOT IN ('stage', 'pipeline', '@status', '@active')
	WHERE (d.name IS NOT NULL OR w.said OR w.role IN ('stage', 'pipeline', '@status', '@active'))
		AND NOT coalesce($4 -> 'constants', '{}') ? w.role
		-- the caller may say the part or the column
		AND NOT coalesce($4 -> 'constants', '{}') ? coalesce(d.name, w.role)
		AND (w.said OR NOT coalesce($4 -> 'fields', '{}') ? coalesce(d.name, w.role))
		-- a column that the source does not have says nothing
		AND (w.needed OR $1 NOT IN ('salesforce', 'bitrix24', 'frappe', 'vtiger')
			OR pipelines._import_find_column($2, w.names, coalesce($4 -> 'columns', '{}')) IS NOT NULL)
$$;
COMMENT ON FUNCTION pipelines._import_slots(text, regclass, regclass, jsonb) IS
	'What import_view() takes from a foreign history.';

-- Carries values forward: a query with fid, at, r, seq, actor, and for each
-- slot h1 ... (does the row say the value?) and v1 ... becomes one where each
-- row has the value that was said last.
CREATE FUNCTION pipelines._import_carried(query text, slots integer)
RETURNS text
LANGUAGE sql IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('SELECT c.fid, c.at, c.seq, c.actor, %s
		FROM (%s) c
		WINDOW k AS (PARTITION BY c.fid ORDER BY c.at, c.r)',
		(SELECT string_agg(format('(array_agg(c.v%1$s) FILTER (WHERE c.h%1$s) OVER k)[count(*) FILTER (WHERE c.h%1$s) OVER k] AS v%1$s', n), ', ')
			FROM generate_series(1, $2) n), $1)
$$;
COMMENT ON FUNCTION pipelines._import_carried(text, integer) IS
	'SQL text of a query in which every row has the values said last.';

-- SQL text of the events of a foreign history: fid (its id of the deal), at,
-- seq, actor, and v1 ... the foreign values, all but at and seq as text.
--
-- rows: each row is a whole state.  stays: each row is a stay in a stage.
-- leaves: each row has the stage that was left.  changes: each row is a change
-- of one field.  versions: each row is a new value of one field.  What was
-- saved at one instant is one event; a second change of one field at the same
-- instant is a second event, whose seq is NULL if nothing orders the two.
CREATE FUNCTION pipelines._import_events(format text, source regclass, deals regclass, records regclass, options jsonb)
RETURNS text
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	zone CONSTANT text := coalesce(options ->> 'time_zone', 'UTC');
	named CONSTANT jsonb := coalesce(options -> 'columns', '{}');
	document boolean := false;
	-- the columns of source and records, by the parts that they play
	part jsonb := '{}';
	record_part jsonb := '{}';
	missing text[] := '{}';
	missing_records text[] := '{}';
	item record;
	found_column name;
	slots integer := 0;
	stage_slot integer;
	fid text;
	at text;
	actor text;
	ord text := 'NULL::integer';
	ordered boolean := false;
	filters text[] := '{}';
	columns text := '';
	record_columns text := '';
	raw text;
	kept text;
	present text;
	old_value text;
	new_value text;
BEGIN
	IF format = 'hubspot' THEN
		document := pipelines._import_find_column(source, '{propertiesWithHistory}'::text[], named) IS NOT NULL;
	END IF;

	-- the parts of the log itself
	FOR item IN
		SELECT c.relation, c."column", c."column" || c.aliases AS names, c.needed, c.gives[1] AS role
		FROM pipelines._import_format_columns() c
		WHERE c.format = _import_events.format
			AND (c.gives[1] ~ '^@' OR c.relation = 'records')
			AND c.relation = ANY (CASE WHEN document THEN '{document,records}'::text[] ELSE '{source,records}' END)
		ORDER BY c.n
	LOOP
		IF item.relation = 'records' THEN
			CONTINUE WHEN records IS NULL;
			found_column := pipelines._import_find_column(records, item.names, coalesce(options -> 'record_columns', '{}'));
			record_part := record_part || jsonb_build_object(item.role, found_column);
			IF found_column IS NULL AND item.needed THEN
				missing_records := missing_records || item."column";
			END IF;
		ELSE
			found_column := pipelines._import_find_column(source, item.names, named);
			part := part || jsonb_build_object(item.role, found_column);
			IF found_column IS NULL AND item.needed THEN
				missing := missing || item."column";
			END IF;
		END IF;
	END LOOP;
	IF options ? 'seq' THEN
		-- a format without an order of its own may be given one
		found_column := pipelines._import_find_column(source, ARRAY[options ->> 'seq'], '{}'::jsonb);
		IF found_column IS NULL THEN
			RAISE EXCEPTION '% has no column %', source, options ->> 'seq'
				USING ERRCODE = 'undefined_column',
					  HINT = 'The option seq names a column that orders the rows of one instant.';
		END IF;
		part := part || jsonb_build_object('@seq', found_column);
	END IF;

	-- the values
	FOR item IN SELECT * FROM pipelines._import_slots(format, source, deals, options) LOOP
		slots := slots + 1;
		IF item.role = 'stage' THEN
			stage_slot := slots;
		END IF;
		IF format IN ('salesforce', 'bitrix24', 'frappe', 'vtiger') THEN
			found_column := pipelines._import_find_column(source, item.names, named);
			IF found_column IS NULL AND item.needed THEN
				missing := missing || item.names[1];
			END IF;
			columns := columns || format(', %s AS v%s', pipelines._import_text(source, 's', found_column), slots);
		END IF;
		IF records IS NOT NULL THEN
			found_column := CASE WHEN format = 'vtiger' AND item.role = 'stage' THEN record_part ->> 'stage'
				ELSE pipelines._import_find_column(records, item.names, coalesce(options -> 'record_columns', '{}')) END;
			IF found_column IS NULL AND item.role = 'stage' AND format <> 'vtiger' THEN
				missing_records := missing_records || item.names[1];
			END IF;
			record_columns := record_columns || format(', %s AS v%s', pipelines._import_text(records, 'r', found_column), slots);
		END IF;
	END LOOP;
	IF stage_slot IS NULL THEN
		RAISE EXCEPTION 'a history without stages makes no deals'
			USING ERRCODE = 'invalid_parameter_value',
				  HINT = 'Name the field of the stage in the option fields, or leave stage out of the options fields and constants.';
	END IF;
	IF cardinality(missing) > 0 OR cardinality(missing_records) > 0 THEN
		RAISE EXCEPTION '% lacks columns that format "%" needs: %',
				CASE WHEN cardinality(missing) > 0 THEN source ELSE records END, format,
				array_to_string(CASE WHEN cardinality(missing) > 0 THEN missing ELSE missing_records END, ', ')
			USING ERRCODE = 'undefined_column',
				  DETAIL = 'A column is found by its name in the other system, whatever its case and with or without underscores.  pipelines.import_formats() lists them.',
				  HINT = format('Say what they are called, as in options => ''{"%s": {"%s": "..."}}''.',
								CASE WHEN cardinality(missing) > 0 THEN 'columns' ELSE 'record_columns' END,
								CASE WHEN cardinality(missing) > 0 THEN missing[1] ELSE missing_records[1] END);
	END IF;

	-- the log as it is
	fid := format('nullif(btrim(%s), '''')', pipelines._import_text(source, 's', (part ->> '@key')::name));
	actor := pipelines._import_text(source, 's', (part ->> '@actor')::name);
	IF part ->> '@deleted' IS NOT NULL AND NOT coalesce((options ->> 'deleted')::boolean, false) THEN
		filters := filters || format('nullif(btrim(%s), '''')::boolean IS NOT TRUE',
			pipelines._import_text(source, 's', (part ->> '@deleted')::name));
	END IF;
	IF part ->> '@model' IS NOT NULL THEN
		filters := filters || format('%s = %L', pipelines._import_text(source, 's', (part ->> '@model')::name),
			coalesce(options ->> 'model', CASE format WHEN 'odoo' THEN 'crm.lead' ELSE 'CRM Deal' END));
	END IF;
	IF document THEN
		at := pipelines._import_value('(v.version ->> ''timestamp'')', 'timestamptz'::regtype, zone);
		actor := 'coalesce(v.version ->> ''updatedByUserId'', v.version ->> ''sourceId'')';
		ord := '-v.place';		-- newest first
		ordered := true;
	ELSE
		at := pipelines._import_instant(source, 's', (part ->> '@at')::name, zone);
		IF part ->> '@seq' IS NOT NULL THEN
			ord := format('s.%I', part ->> '@seq');
			-- ids of letters ascend as their bytes do
			IF EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = source AND a.attname = part ->> '@seq' AND a.attcollation <> 0) THEN
				ord := ord || ' COLLATE "C"';
			END IF;
			ordered := true;
		END IF;
	END IF;
	IF format = 'hubspot' THEN
		IF NOT document THEN
			-- not every change was made by a user
			actor := format('coalesce(%s, %s)', actor,
				pipelines._import_text(source, 's', pipelines._import_find_column(source, '{sourceId}'::text[], named)));
		END IF;
		new_value := CASE WHEN document THEN 'v.version ->> ''value'''
			ELSE pipelines._import_text(source, 's', (part ->> '@new')::name) END;
		columns := format(', %s AS field, NULL::text AS old, %s AS new',
			CASE WHEN document THEN 'p.key' ELSE pipelines._import_text(source, 's', (part ->> '@field')::name) END, new_value);
	ELSIF format = 'odoo' THEN
		columns := format(', %s AS field, %s AS old, %s AS new',
			pipelines._import_text(source, 's', (part ->> '@field')::name),
			pipelines._import_odoo_value(source, part, 'old', deals, options),
			pipelines._import_odoo_value(source, part, 'new', deals, options));
	ELSIF format IN ('salesforce_field_history', 'pipedrive') THEN
		columns := format(', %s AS field, %s AS old, %s AS new',
			pipelines._import_text(source, 's', (part ->> '@field')::name),
			pipelines._import_text(source, 's', (part ->> '@old')::name),
			pipelines._import_text(source, 's', (part ->> '@new')::name));
	ELSIF format = 'frappe' THEN
		columns := columns || format(', nullif(btrim(%s), '''') AS to_stage, %s AS to_at',
			pipelines._import_text(source, 's', (part ->> '@to')::name),
			pipelines._import_instant(source, 's', (part ->> '@to_at')::name, zone));
	END IF;
	raw := format('SELECT %s AS fid, %s AS at, %s AS ord, %s AS actor%s FROM %s s%s%s', fid, at, ord, actor, columns, source,
		CASE WHEN document THEN format('
		CROSS JOIN LATERAL jsonb_each(CASE WHEN jsonb_typeof(s.%1$I::jsonb) = ''object'' THEN s.%1$I::jsonb END) p(key, versions)
		CROSS JOIN LATERAL jsonb_array_elements(CASE WHEN jsonb_typeof(p.versions) = ''array'' THEN p.versions END) WITH ORDINALITY v(version, place)',
			part ->> '@document') ELSE '' END,
		coalesce(' WHERE ' || nullif(array_to_string(filters, ' AND '), ''), ''));
	IF records IS NOT NULL THEN
		present := format('SELECT nullif(btrim(%s), '''') AS fid, %s AS created, %s AS modified%s FROM %s r',
			pipelines._import_text(records, 'r', (record_part ->> '@key')::name),
			pipelines._import_instant(records, 'r', (record_part ->> '@created')::name, zone),
			CASE WHEN record_part ->> '@modified' IS NULL THEN 'NULL::timestamptz'
				ELSE pipelines._import_instant(records, 'r', (record_part ->> '@modified')::name, zone) END,
			record_columns, records);
	END IF;

	IF format IN ('salesforce', 'bitrix24') THEN
		RETURN format('SELECT r.fid, r.at, %s AS seq, r.actor, %s FROM (%s) r',
			CASE WHEN ordered THEN '(row_number() OVER (PARTITION BY r.fid ORDER BY r.at, r.ord))::integer' ELSE 'NULL::integer' END,
			(SELECT string_agg('r.v' || n, ', ') FROM generate_series(1, slots) n), raw);
	END IF;

	IF format = 'frappe' THEN
		kept := format('SELECT r.*, (row_number() OVER k)::integer AS n, lag(r.actor) OVER k AS before, lead(r.at) OVER k IS NULL AS last
			FROM (%s) r WINDOW k AS (PARTITION BY r.fid ORDER BY r.at, r.ord)', raw);
		RETURN format('WITH stay AS (%1$s)
		SELECT r.fid, r.at, %2$s AS seq, CASE WHEN r.n > 1 THEN r.before WHEN r.to_stage IS NULL THEN r.actor END AS actor, %3$s
		FROM stay r
		UNION ALL
		SELECT r.fid, r.to_at, %4$s, r.actor, %5$s FROM stay r WHERE r.last AND r.to_stage IS NOT NULL',
			kept, CASE WHEN ordered THEN 'r.n' ELSE 'NULL::integer' END,
			(SELECT string_agg('r.v' || n, ', ') FROM generate_series(1, slots) n),
			CASE WHEN ordered THEN 'r.n + 1' ELSE 'NULL::integer' END,
			(SELECT string_agg(CASE n WHEN stage_slot THEN 'r.to_stage' ELSE 'r.v' || n END, ', ') FROM generate_series(1, slots) n));
	END IF;

	IF format = 'vtiger' THEN
		RETURN format('WITH log AS (
			SELECT r.*, (row_number() OVER k)::integer AS n, lead(r.v%2$s) OVER k AS next, lead(r.at) OVER k IS NULL AS last,
				count(*) OVER (PARTITION BY r.fid, r.at) > 1 AS several
			FROM (%1$s) r WINDOW k AS (PARTITION BY r.fid ORDER BY r.at, r.ord)
		), present AS (%3$s)
		SELECT l.fid, l.at, %4$s AS seq, l.actor, %5$s
		FROM log l LEFT JOIN present p ON p.fid = l.fid
		UNION ALL
		SELECT coalesce(l.fid, p.fid), least(p.created, l.at), 0, NULL, %6$s
		FROM (SELECT * FROM log WHERE log.n = 1) l FULL JOIN present p ON p.fid = l.fid
		UNION ALL
		SELECT p.fid, greatest(p.modified, l.at), 2147483647, NULL, %7$s
		FROM present p LEFT JOIN (SELECT * FROM log WHERE log.last) l ON l.fid = p.fid
		WHERE p.modified IS NOT NULL', raw, stage_slot, present,
			CASE WHEN ordered THEN 'l.n' ELSE 'CASE WHEN NOT l.several THEN 1 END' END,
			(SELECT string_agg(CASE n WHEN stage_slot THEN format('CASE WHEN l.last THEN p.v%1$s ELSE l.next END AS v%1$s', n)
				ELSE 'l.v' || n END, ', ') FROM generate_series(1, slots) n),
			(SELECT string_agg(CASE n WHEN stage_slot THEN format('CASE WHEN l.fid IS NULL THEN p.v%1$s ELSE l.v%1$s END', n)
				ELSE format('CASE WHEN l.fid IS NULL THEN p.v%s END', n) END, ', ') FROM generate_series(1, slots) n),
			(SELECT string_agg('p.v' || n, ', ') FROM generate_series(1, slots) n));
	END IF;

	-- what was saved at one instant
	kept := format('SELECT i.fid, i.at, i.r, CASE WHEN %1$s OR NOT bool_or(i.several) THEN i.r END AS seq, max(i.actor) AS actor, %2$s
			FROM (SELECT i.*, (row_number() OVER (PARTITION BY i.fid, i.field, i.at ORDER BY i.ord))::integer AS r,
					count(*) OVER (PARTITION BY i.fid, i.field, i.at) > 1 AS several
				FROM item i
				WHERE i.field = ANY (%3$L::text[])) i
			GROUP BY i.fid, i.at, i.r',
		ordered::text,
		(SELECT string_agg(format('count(*) FILTER (WHERE i.field = ANY (%1$L::text[])) > 0 AS h%2$s, max(i.new) FILTER (WHERE i.field = ANY (%1$L::text[])) AS v%2$s',
			s.names, s.slot), ', ' ORDER BY s.slot) FROM pipelines._import_slots(format, source, deals, options) s),
		(SELECT array_agg(DISTINCT x.name) FROM pipelines._import_slots(format, source, deals, options) s, unnest(s.names) x(name)));
	IF format = 'hubspot' THEN
		RETURN format('WITH item AS (%1$s)
		SELECT c.*
		FROM (SELECT c.*, c.v%3$s IS NOT NULL OR NOT bool_or(c.v%3$s IS NOT NULL) OVER (PARTITION BY c.fid) AS wanted
			FROM (%2$s) c) c
		WHERE c.wanted', raw, pipelines._import_carried(kept, slots), stage_slot);
	END IF;

	-- the state before the first change: old values, else what the record has now
	RETURN format('WITH item AS (%1$s), present AS (%2$s), beginning AS (
			SELECT i.fid, min(i.at) AS at, %3$s
			FROM item i
			GROUP BY i.fid
		)
		%4$s', raw,
		coalesce(present, format('SELECT NULL::text AS fid, NULL::timestamptz AS created, %s WHERE false',
			(SELECT string_agg('NULL::text AS v' || n, ', ') FROM generate_series(1, slots) n))),
		(SELECT string_agg(format('count(*) FILTER (WHERE i.field = ANY (%1$L::text[])) > 0 AS h%2$s,
				(array_agg(i.old ORDER BY i.at, i.ord) FILTER (WHERE i.field = ANY (%1$L::text[])))[1] AS v%2$s',
			s.names, s.slot), ', ' ORDER BY s.slot) FROM pipelines._import_slots(format, source, deals, options) s),
		pipelines._import_carried(format('SELECT coalesce(b.fid, p.fid) AS fid, least(p.created, b.at) AS at, 0 AS r, 0 AS seq, NULL::text AS actor, %s
			FROM beginning b FULL JOIN present p ON p.fid = b.fid
			UNION ALL
			%s',
			(SELECT string_agg(format('true AS h%1$s, CASE WHEN b.h%1$s THEN b.v%1$s ELSE p.v%1$s END AS v%1$s', n), ', ')
				FROM generate_series(1, slots) n), kept), slots));
END
$$;
COMMENT ON FUNCTION pipelines._import_events(text, regclass, regclass, regclass, jsonb) IS
	'SQL text of the events of a foreign history. Raises 42703 for missing columns.';

-- SQL text of an old or new value of Odoo: which column has it depends on the
-- type of the field, so on what the deals make of it.
CREATE FUNCTION pipelines._import_odoo_value(source regclass, part jsonb, side text, deals regclass, options jsonb)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
	WITH side AS (
		SELECT format('nullif(%s, '''')', pipelines._import_text($1, 's', ($2 ->> ('@' || $3))::name)) AS name,
			pipelines._import_text($1, 's', ($2 ->> ('@' || $3 || '_integer'))::name) AS whole,
			pipelines._import_text($1, 's', ($2 ->> ('@' || $3 || '_float'))::name) AS decimals,
			pipelines._import_text($1, 's', ($2 ->> ('@' || $3 || '_monetary'))::name) AS money,
			pipelines._import_text($1, 's', ($2 ->> ('@' || $3 || '_datetime'))::name) AS instant
	)
	SELECT format('CASE %s%s ELSE %s END',
		format('%s ', pipelines._import_text($1, 's', ($2 ->> '@field')::name)),
		string_agg(format('WHEN %L THEN %s', n.name,
			CASE
			WHEN s.role = '@active' THEN side.whole
			WHEN s.type IN ('date'::regtype, 'timestamptz'::regtype, 'timestamp'::regtype) THEN side.instant
			WHEN t.typcategory = 'N' THEN format('coalesce(%s, %s, %s)', side.decimals, side.money, side.whole)
			WHEN coalesce(m.map, '{}') <> '{}' THEN format('CASE WHEN %L::jsonb ? %s THEN %2$s ELSE %s END', m.map, side.whole, side.name)
			ELSE side.name END), ' '),
		side.name)
	FROM side
		CROSS JOIN pipelines._import_slots('odoo', $1, $4, $5) s
		CROSS JOIN LATERAL unnest(s.names) n(name)
		JOIN pg_type t ON t.oid = s.type
		CROSS JOIN LATERAL (SELECT CASE s.role WHEN 'stage' THEN $5 -> 'stages' WHEN 'pipeline' THEN $5 -> 'pipelines'
			WHEN 'owner' THEN $5 -> 'users' END AS map) m
	GROUP BY side.name
$$;
COMMENT ON FUNCTION pipelines._import_odoo_value(regclass, jsonb, text, regclass, jsonb) IS
	'SQL text of the old or the new value of a row of mail.tracking.value.';

-- No SET clause here: the schema that a new view goes to is the caller's, and
-- names in the options are looked up as the caller would.
CREATE FUNCTION pipelines.import_view(name text, format text, source regclass, deals regclass,
	options jsonb DEFAULT '{}')
RETURNS regclass
LANGUAGE sql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000
AS $$
	SELECT pipelines._import_view(pg_catalog.current_schema(), $1, $2, $3, $4, $5,
		pg_catalog.to_regclass(pg_catalog.jsonb_extract_path_text($5, 'records')),
		pg_catalog.to_regclass(pg_catalog.jsonb_extract_path_text($5, 'key', 'table')))
$$;
COMMENT ON FUNCTION pipelines.import_view(text, text, regclass, regclass, jsonb) IS
'Makes a view of events for import_history(deals, view) over a history as another system exports it. For members of the role that owns the deals (42501).
name: of the view, with a schema or without (then as CREATE VIEW); over a temporary table the view is temporary.
format: salesforce, salesforce_field_history, hubspot, pipedrive, odoo, frappe, vtiger, bitrix24; import_formats() lists their columns.
source: a table or view in the columns of that system; values may be text.
options, all of them optional:
stages, pipelines: what foreign stages and pipelines are called here, {"closedwon": "Won"}; of stages also {"closedwon": {"pipeline": "Sales", "stage": "Won"}}; what is not listed stays as it is, and import_history() refuses what it does not know. The status won or lost of Pipedrive and a lead of Odoo that is not active (lost) are stages, too.
users: what actors and owners are called here.
key: a column of the deals that has the foreign id, or {"table": "crm.ids", "foreign": "sf_id"}, a table with that column and the key of the deals. Left out: the foreign id is the key. An id that is not found there gives events without a key, which import_history() refuses.
records: a table of the present records of that system: what never changed is read there, and when deals were made. For salesforce_field_history, pipedrive, odoo; needed for vtiger. Without it a deal begins with its first change.
columns, record_columns: what columns are called in source and in records, {"OpportunityId": "id"}.
fields: foreign fields for columns of the deals, {"territory": "Region__c"}, instead of or beside the usual ones; null leaves one out.
constants: values that no field has, {"pipeline": "Sales", "currency": "EUR", "tenant_id": 7}.
seq: column that orders rows of one instant. time_zone: of instants without one, and of days; default UTC. deleted: true keeps rows of deleted deals. model: other than crm.lead or CRM Deal. probability, forecast_category: true takes them as overrides.
Errors: 22023 unknown format or option, 42703 missing column, 42P07 the name is taken.';

CREATE FUNCTION pipelines._import_view(creation_schema name, name text, format text, source regclass, deals regclass,
	options jsonb, records regclass, ids regclass)
RETURNS regclass
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	known CONSTANT jsonb := '{"stages": "object", "pipelines": "object", "users": "object", "columns": "object",
		"record_columns": "object", "fields": "object", "constants": "object", "key": "string or object",
		"records": "string", "seq": "string", "time_zone": "string", "model": "string",
		"deleted": "boolean", "probability": "boolean", "forecast_category": "boolean"}';
	categories CONSTANT jsonb := '{"Omitted": "omitted", "Pipeline": "pipeline", "BestCase": "best_case",
		"Best Case": "best_case", "Forecast": "commit", "Commit": "commit", "Closed": "closed",
		"OMIT": "omitted", "PIPELINE": "pipeline", "BEST_CASE": "best_case", "COMMIT": "commit", "CLOSED": "closed"}';
	parts text[];
	schema_name text := creation_schema;
	view_name text;
	target text;
	owner record;
	option record;
	zone text;
	key_columns text[];
	free_key text[];
	join_text text := '';
	output text[] := '{}';
	slot record;
	stage_value text;
	pipeline_value text;
	expression text;
	constants jsonb;
	unknown text;
	scale text;
	factor integer;
BEGIN
	IF name IS NULL OR format IS NULL OR source IS NULL OR deals IS NULL OR options IS NULL THEN
		RAISE EXCEPTION 'name, format, source, deals and options must not be null'
			USING ERRCODE = 'null_value_not_allowed';
	END IF;
	PERFORM pipelines._layout_columns(deals);	-- an error if it isn't a table of deals
	SELECT r.oid, r.rolname INTO STRICT owner
	FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner WHERE c.oid = deals;
	IF NOT pg_has_role(owner.oid, 'USAGE') THEN
		RAISE EXCEPTION 'permission denied to import history into %', deals
			USING ERRCODE = 'insufficient_privilege',
				  HINT = format('Only members of role %I, who owns the deals, may write their past.', owner.rolname);
	END IF;

	-- what is asked for
	IF NOT EXISTS (SELECT FROM pipelines._import_format_columns() c WHERE c.format = _import_view.format) THEN
		RAISE EXCEPTION 'there is no import format "%"', format
			USING ERRCODE = 'invalid_parameter_value',
				  HINT = format('There are: %s.', (SELECT string_agg(f.format, ', ' ORDER BY f.n)
					FROM (SELECT c.format, min(c.n) AS n FROM pipelines._import_format_columns() c GROUP BY c.format) f));
	END IF;
	IF jsonb_typeof(options) <> 'object' THEN
		RAISE EXCEPTION 'options must be a JSON object'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	FOR option IN SELECT o.key, jsonb_typeof(o.value) AS type FROM jsonb_each(options) o ORDER BY 1 LOOP
		IF NOT known ? option.key THEN
			RAISE EXCEPTION 'import_view() has no option "%"', option.key
				USING ERRCODE = 'invalid_parameter_value',
					  HINT = format('There are: %s.', (SELECT string_agg(k, ', ' ORDER BY k) FROM jsonb_object_keys(known) k));
		ELSIF option.type <> ALL (string_to_array(known ->> option.key, ' or ')) THEN
			RAISE EXCEPTION 'option "%" must be a JSON %, not %', option.key, known ->> option.key, option.type
				USING ERRCODE = 'invalid_parameter_value';
		END IF;
	END LOOP;
	SELECT format('%s of option %s', to_jsonb(e.key), o.key) INTO unknown
	FROM (VALUES ('stages'), ('pipelines'), ('users'), ('columns'), ('record_columns'), ('fields')) o(key)
		CROSS JOIN LATERAL jsonb_each(coalesce(options -> o.key, '{}')) e
	WHERE (jsonb_typeof(e.value) = 'string'
		OR o.key = 'fields' AND jsonb_typeof(e.value) = 'null'
		OR o.key = 'stages' AND jsonb_typeof(e.value -> 'stage') = 'string' AND jsonb_typeof(e.value -> 'pipeline') = 'string') IS NOT TRUE
	ORDER BY 1
	LIMIT 1;
	IF unknown IS NOT NULL THEN
		RAISE EXCEPTION 'value for % is not a string', unknown
			USING ERRCODE = 'invalid_parameter_value',
				  HINT = 'A stage may also be {"pipeline": "...", "stage": "..."}, a field may be null.';
	END IF;
	SELECT format('%s of option %s', to_jsonb(e.key), o.key) INTO unknown
	FROM (VALUES ('columns', '{source,document}'::text[]), ('record_columns', '{source,field,records}')) o(key, relations)
		CROSS JOIN LATERAL jsonb_object_keys(coalesce(options -> o.key, '{}')) e(key)
	WHERE NOT EXISTS (SELECT FROM pipelines._import_format_columns() c
		WHERE c.format = _import_view.format AND c.relation = ANY (o.relations) AND c."column" = e.key)
	ORDER BY 1
	LIMIT 1;
	IF unknown IS NOT NULL THEN
		RAISE EXCEPTION 'format "%" does not know %', format, unknown
			USING ERRCODE = 'invalid_parameter_value',
				  HINT = 'The keys of the option are what the other system calls its columns, as pipelines.import_formats() lists them.';
	END IF;
	zone := coalesce(options ->> 'time_zone', 'UTC');
	PERFORM now() AT TIME ZONE zone;	-- an error if there is no such zone
	constants := coalesce(options -> 'constants', '{}');

	-- what it reads
	IF options ? 'records' THEN
		IF format NOT IN ('salesforce_field_history', 'pipedrive', 'odoo', 'vtiger') THEN
			RAISE EXCEPTION 'format "%" has no use for records', format
				USING ERRCODE = 'invalid_parameter_value',
					  HINT = 'Leave the option records out.';
		END IF;
		IF records IS NULL THEN
			RAISE EXCEPTION 'relation % of option "records" does not exist', options ->> 'records'
				USING ERRCODE = 'undefined_table';
		END IF;
	ELSIF format = 'vtiger' THEN
		RAISE EXCEPTION 'format "vtiger" needs the option records'
			USING ERRCODE = 'invalid_parameter_value',
				  DETAIL = 'A row of vtiger_potstagehistory has the stage that was left.  The present stage is in the record alone.',
				  HINT = 'Name a table or view with potentialid, sales_stage and createdtime, as in options => ''{"records": "crm.potentials"}''.';
	END IF;
	IF jsonb_typeof(options -> 'key') = 'object' THEN
		IF coalesce(jsonb_typeof(options #> '{key,table}') <> 'string' OR jsonb_typeof(options #> '{key,foreign}') <> 'string', true) THEN
			RAISE EXCEPTION 'option "key" must say table and foreign'
				USING ERRCODE = 'invalid_parameter_value',
					  HINT = 'As in {"key": {"table": "crm.ids", "foreign": "sf_id"}}: a table with that column and the key of the deals.';
		END IF;
		IF ids IS NULL THEN
			RAISE EXCEPTION 'relation % of option "key" does not exist', options #>> '{key,table}'
				USING ERRCODE = 'undefined_table';
		END IF;
	ELSIF options ? 'key' THEN
		ids := deals;
	END IF;
	FOR option IN
		SELECT r.relation, c.relkind, c.relpersistence
		FROM unnest(ARRAY[source, records, ids]) r(relation) JOIN pg_class c ON c.oid = r.relation
	LOOP
		IF option.relkind NOT IN ('r', 'p', 'v', 'm', 'f') THEN
			RAISE EXCEPTION '% is neither a table nor a view', option.relation
				USING ERRCODE = 'wrong_object_type';
		ELSIF NOT has_any_column_privilege(option.relation, 'SELECT') THEN
			RAISE EXCEPTION 'permission denied to read %', option.relation
				USING ERRCODE = 'insufficient_privilege';
		END IF;
	END LOOP;

	-- what it is to be called
	parts := parse_ident(name);
	view_name := parts[cardinality(parts)];
	IF cardinality(parts) > 2 THEN
		RAISE EXCEPTION 'improper name for a view: %', name
			USING ERRCODE = 'syntax_error',
				  HINT = 'Give a view, or a schema and a view: ''crm.events''.';
	ELSIF cardinality(parts) = 2 THEN
		schema_name := parts[1];
	ELSIF EXISTS (SELECT FROM pg_class c WHERE c.oid IN (source, records, ids) AND c.relpersistence = 't') THEN
		schema_name := 'pg_temp';
	ELSIF schema_name IS NULL THEN
		RAISE EXCEPTION 'no schema has been selected to create in'
			USING ERRCODE = 'invalid_schema_name',
				  HINT = 'Name the schema: ''crm.events''.';
	END IF;
	IF schema_name = 'pipelines' THEN
		RAISE EXCEPTION 'schema "%" is reserved: no view can be made there', schema_name
			USING ERRCODE = 'reserved_name',
				  HINT = 'Name a schema of your own, as in ''crm.events''.';
	END IF;
	target := format('%I.%I', schema_name, view_name);

	-- the key
	SELECT array_agg(m.column_name ORDER BY m.role) INTO STRICT key_columns
	FROM pipelines._layout_columns(deals) m WHERE m.role ~ '^key[1-9]';
	SELECT array_agg(k.name ORDER BY k.n) INTO free_key
	FROM unnest(key_columns) WITH ORDINALITY k(name, n) WHERE NOT constants ? k.name;
	IF ids IS NULL THEN
		IF coalesce(cardinality(free_key), 0) <> 1 THEN
			RAISE EXCEPTION 'the foreign id can''t be the key of %, which has the columns %', deals, array_to_string(key_columns, ', ')
				USING ERRCODE = 'invalid_parameter_value',
					  HINT = 'Give all of them but one in the option constants, or name a table of ids in the option key.';
		END IF;
		output := output || (SELECT format('e.fid::%s AS %I', format_type(a.atttypid, a.atttypmod), free_key[1])
			FROM pg_attribute a WHERE a.attrelid = deals AND a.attname = free_key[1] AND a.attnum > 0);
	ELSE
		unknown := (SELECT string_agg(w.name, ', ') FROM unnest(
				coalesce(options #>> '{key,foreign}', options ->> 'key') || free_key) w(name)
			WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = ids AND a.attname = w.name AND a.attnum > 0 AND NOT a.attisdropped));
		IF unknown IS NOT NULL THEN
			RAISE EXCEPTION '% has no column %', ids, unknown
				USING ERRCODE = 'undefined_column',
					  HINT = 'The option key names a column of the deals that has the foreign id, or a table with that column and the key of the deals.';
		END IF;
		join_text := format(' LEFT JOIN %s k ON %s = e.fid', ids,
			pipelines._import_text(ids, 'k', coalesce(options #>> '{key,foreign}', options ->> 'key')::name));
		output := output || array(SELECT format('k.%I', k.name) FROM unnest(free_key) WITH ORDINALITY k(name, n) ORDER BY k.n);
	END IF;
	output := output || 'e.at'::text || 'e.seq'::text;

	-- stage and pipeline
	SELECT max('e.v' || s.slot) FILTER (WHERE s.role = 'stage'), max('e.v' || s.slot) FILTER (WHERE s.role = 'pipeline')
	INTO stage_value, pipeline_value
	FROM pipelines._import_slots(format, source, deals, options) s;
	stage_value := format('nullif(%s, '''')', stage_value);
	FOR slot IN SELECT s.* FROM pipelines._import_slots(format, source, deals, options) s WHERE s.role ~ '^@' LOOP
		stage_value := CASE slot.role
			WHEN '@status' THEN format('CASE WHEN e.v%1$s IN (''won'', ''lost'', ''deleted'') THEN e.v%1$s ELSE %2$s END', slot.slot, stage_value)
			ELSE format('CASE WHEN nullif(btrim(e.v%s), '''')::boolean IS FALSE THEN ''lost'' ELSE %s END', slot.slot, stage_value) END;
	END LOOP;
	IF pipeline_value IS NOT NULL THEN
		pipeline_value := pipelines._import_mapped(format('nullif(%s, '''')', pipeline_value), options -> 'pipelines', 'pipeline');
	ELSIF constants ? 'pipeline' THEN
		pipeline_value := format('%L::text', constants ->> 'pipeline');
	END IF;
	IF EXISTS (SELECT FROM jsonb_each(coalesce(options -> 'stages', '{}')) s WHERE jsonb_typeof(s.value) = 'object') THEN
		pipeline_value := format('coalesce(%L::jsonb -> (%s) ->> ''pipeline''%s)', options -> 'stages', stage_value, ', ' || pipeline_value);
	END IF;
	IF pipeline_value IS NOT NULL THEN
		output := output || (pipeline_value || ' AS pipeline');
	END IF;
	output := output || (pipelines._import_mapped(stage_value, options -> 'stages', 'stage') || ' AS stage');

	-- the others
	SELECT coalesce(t.application ->> 'scale', 'percent') INTO STRICT scale
	FROM pipelines.tracked_table t WHERE t.relation = deals;
	FOR slot IN
		SELECT s.* FROM pipelines._import_slots(format, source, deals, options) s
		WHERE s.role NOT IN ('stage', 'pipeline') AND s.role !~ '^@' ORDER BY s.slot
	LOOP
		IF slot.deals_column IS NULL THEN
			RAISE EXCEPTION '% has no column for %', deals, slot.role
				USING ERRCODE = 'undefined_column',
					  HINT = 'The option fields lists columns of the deals.';
		END IF;
		expression := format('e.v%s', slot.slot);
		expression := CASE slot.role
			WHEN 'owner' THEN pipelines._import_mapped(pipelines._import_value(expression, 'text'::regtype, zone), options -> 'users', 'user')
			WHEN 'forecast_category' THEN pipelines._import_mapped(pipelines._import_value(expression, 'text'::regtype, zone), categories, 'category')
			ELSE pipelines._import_value(expression, slot.type, zone) END;
		IF slot.role = 'probability' AND NOT slot.said THEN
			-- from percent or a fraction of 1 to percent or a fraction of 1
			factor := CASE format WHEN 'hubspot' THEN 1 ELSE 100 END;
			expression := CASE
				WHEN scale = 'fraction' AND factor = 100 THEN format('(%s * 0.01)', expression)
				WHEN scale = 'percent' AND factor = 1 THEN format('(%s * 100)', expression)
				ELSE expression END;
		END IF;
		output := output || format('%s AS %I', expression, slot.deals_column);
	END LOOP;
	FOR option IN
		SELECT c.key, c.value, a.attname, a.atttypid
		FROM jsonb_each_text(constants) c
			LEFT JOIN pipelines._layout_columns(deals) m ON m.role = c.key AND m.attnum IS NOT NULL
			LEFT JOIN pg_attribute a ON a.attrelid = deals AND a.attname = coalesce(m.column_name, c.key) AND a.attnum > 0 AND NOT a.attisdropped
		WHERE c.key <> 'pipeline'
		ORDER BY c.key
	LOOP
		IF option.attname IS NULL AND option.key NOT IN ('actor', 'reason') THEN
			RAISE EXCEPTION '% has no column for %', deals, option.key
				USING ERRCODE = 'undefined_column',
					  HINT = 'The option constants lists columns of the deals, pipeline, actor and reason.';
		END IF;
		output := output || format('%L::%s AS %I', option.value, coalesce(option.atttypid::regtype, 'text'::regtype),
			coalesce(option.attname, option.key));
	END LOOP;
	IF NOT constants ? 'actor' THEN
		output := output || (pipelines._import_mapped('nullif(e.actor, '''')', options -> 'users', 'user') || ' AS actor');
	END IF;

	EXECUTE format('CREATE VIEW %s%s AS SELECT %s FROM (%s) e%s', target,
		-- before PostgreSQL 15 a view shows what its owner, who is the caller, may see
		CASE WHEN current_setting('server_version_num')::integer >= 150000 THEN ' WITH (security_invoker = true)' ELSE '' END,
		array_to_string(output, ', '), pipelines._import_events(format, source, deals, records, options), join_text);
	EXECUTE format('COMMENT ON VIEW %s IS %L', target,
		format('Events of %s in format %s, for pipelines.import_history(%L, ...).', source, format, deals));
	RETURN target::regclass;
END
$$;
COMMENT ON FUNCTION pipelines._import_view(name, text, text, regclass, regclass, jsonb, regclass, regclass) IS
	'The work of import_view(), which adds the schema that the caller creates in, and the tables that the options name.';
