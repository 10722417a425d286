-------------------------------------------------------------------------------
-- views.sql
--   The views of a deals table T: T_current, T_board, T_forecast, T_visits,
--   T_stalled, T_closings, and the function T_as_of.
--
-- Each function _..._view returns the text of one view, from the mapping of T.
-- A view names its columns (never *), shows built-in types only, and stands on
-- tables alone, so that each can be remade without the others.  Outcome,
-- probability and category of a deal are defined in _deal_from(); T_board and
-- T_forecast say the same in forms that are faster to add up (the tests compare
-- them).  No deal is ever dropped: one whose definition is missing (as
-- in the middle of a restore) shows with NULL names.
--
-- Functions that are called several times for a table are in PL/pgSQL: it plans
-- a query once a session, where a function in SQL does so for each call.
-------------------------------------------------------------------------------

CREATE FUNCTION pipelines._view_kinds()
RETURNS TABLE (n integer, kind text, comment text)
LANGUAGE sql IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10 ROWS 30
SET search_path = pg_catalog, pg_temp
AS $$
	VALUES
	(1, 'current', 'Each deal as it is now, with the names, the probability and the category that count.'),
	(2, 'board', 'Deals by pipeline, stage and currency, in the order of the stages, empty stages included; of the deals that the reader sees.'),
	(3, 'forecast', 'Deals by pipeline, month of closing, owner and currency; overdue and undated ones in rows of their own; of the deals that the reader sees.'),
	(4, 'visits', 'Each stay of a deal in a stage, from the history and the deal itself.'),
	(5, 'stalled', 'Open deals that are longer in their stage than its limit allows, and why they need a look.'),
	(6, 'closings', 'Each closing of a deal, kept when the deal is reopened, closed differently or deleted.'),
	(7, 'detail', 'Each deal with its stays in stages and its activities, in one row.'),
	(8, 'accounts', 'The deals of each account, by currency.'),
	(9, 'next_steps', 'What is missing before an open deal can go on to the next stage.'),
	(10, 'candidates', 'Deals that fulfil the entry rule of a stage further on.'),
	(11, 'due', 'What is to be done for the deals that are not closed: next actions, activities, expected closings.'),
	(12, 'unanswered', 'Deals whose customer has not come back since we last went to him.'),
	(13, 'dormant', 'Deals that are not closed and for which nothing was done for 90 days, with nothing planned.'),
	(14, 'time_in_stage', 'How long deals stay in each stage.'),
	(15, 'funnel', 'How many deals came through each stage, in whatever order.'),
	(16, 'transitions', 'From which stage to which one deals moved, and how often.'),
	(17, 'win_rate', 'How many deals are won.'),
	(18, 'cycle', 'How long it takes to win a deal.'),
	(19, 'velocity', 'How much money a pipeline brings per day, with the four factors of it.'),
	(20, 'load', 'The open deals of each owner.'),
	(21, 'flow', 'What moved in the last seven days.'),
	(22, 'trend', 'Where the deals stood at the end of each of the last 104 weeks.'),
	(23, 'review', 'What a review of the pipeline should look at: deals that moved in the last seven days, stalled, pushed, past due, without a next step, large.'),
	(24, 'quota', 'Quota, won, gap and pipeline, and what follows from them, by fiscal period, forecast type and currency: pipelines.quota_report() with its defaults.'),
	(25, 'behind', 'Where less was won by now than the quota of a running period asks for.'),
	(26, 'bridge', 'What led from the open pipeline of seven days ago (of an adopted table, not before its adoption) to that of now: start and all legs add up to end.'),
	(27, 'changes', 'The deals that changed in the last seven days, before and after: one row for each leg of the bridge that they make.'),
	(28, 'scores', 'The open deals with their scores: how deals like them ended.'),
	(29, 'forecast_accuracy', 'What would have been forecast 30, 60 and 90 days before the end of each of the last twelve months, against what came.')
$$;
COMMENT ON FUNCTION pipelines._view_kinds() IS
	'The views that every deals table has.';

-- Comments of the columns that are not simply columns of T.
CREATE FUNCTION pipelines._view_columns()
RETURNS TABLE (kind text, name text, comment text)
LANGUAGE sql IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10 ROWS 150
SET search_path = pg_catalog, pg_temp
AS $$
	WITH c(kind, name, comment) AS (
	VALUES
	('current', 'pipeline_name', 'Name of the pipeline.'),
	('current', 'stage_name', 'Name of the stage.'),
	('current', 'position', 'Position of the stage in its pipeline.'),
	('current', 'outcome', 'Outcome of the stage: open, on_hold, won, lost, disqualified, done.'),
	('current', 'effective_probability', 'Percent: 100 when won, 0 when closed otherwise; else the override of the deal, else its score where the pipeline uses scores, else that of the stage.'),
	('current', 'probability_source', 'Where effective_probability comes from: deal, score or stage.'),
	('current', 'effective_category', 'closed when won, omitted when closed otherwise; else the override of the deal, else that of the stage, else pipeline (on_hold: omitted).'),
	('current', 'weighted', 'amount times effective_probability, exact; 0 for a deal that is omitted, NULL without an amount.'),
	('current', 'days_in_stage', 'Days of 24 hours since the stage was entered; 0 once the deal is closed.'),
	('current', 'age_days', 'Days of 24 hours from creation to closing, or until now.'),
	('board', 'pipeline_id', 'Pipeline.'),
	('board', 'pipeline_name', 'Name of the pipeline.'),
	('board', 'stage_id', 'Stage.'),
	('board', 'stage_name', 'Name of the stage.'),
	('board', 'position', 'Position of the stage in its pipeline.'),
	('board', 'outcome', 'Outcome of the stage: open, on_hold, won, lost, disqualified, done.'),
	('board', 'currency', 'Currency of the amounts; NULL: the table has no default currency, and none was given.'),
	('board', 'deals', 'How many deals are in the stage.'),
	('board', 'unpriced', 'How many of them have no amount.'),
	('board', 'amount', 'Sum of their amounts.'),
	('board', 'weighted', 'Sum of their amounts times their probabilities, exact; omitted deals add nothing.'),
	('board', 'avg_days_in_stage', 'Mean of the days of 24 hours since they entered the stage; 0 for closed stages, NULL for empty ones.'),
	('forecast', 'pipeline_id', 'Pipeline.'),
	('forecast', 'pipeline_name', 'Name of the pipeline.'),
	('forecast', 'month', 'First day of the month: of the closing for closed deals, of the expected closing for the others.'),
	('forecast', 'bucket', 'month; overdue: still open on a later day than expected, in the time zone of the pipeline; undated: the day is not known.'),
	('forecast', 'owner', 'Owner of the deals.'),
	('forecast', 'currency', 'Currency of the amounts; NULL: the table has no default currency, and none was given.'),
	('forecast', 'deals', 'How many deals.'),
	('forecast', 'unpriced', 'How many of them have no amount.'),
	('forecast', 'pipeline', 'Sum of the amounts that are still open (omitted deals add nothing).'),
	('forecast', 'weighted', 'Sum of the amounts that are still open times their probabilities, exact.'),
	('forecast', 'won', 'Sum of the amounts that were won.'),
	('forecast', 'lost', 'Sum of the amounts that were lost.'),
	('forecast', 'stddev', 'Standard deviation of what the open deals will bring, taken as independent; NULL where there are none.'),
	('forecast', 'p10', 'With a chance of 10 % the open deals bring at most this; NULL where there are none.'),
	('forecast', 'p50', 'With a chance of 50 % the open deals bring at most this; NULL where there are none.'),
	('forecast', 'p90', 'With a chance of 90 % the open deals bring at most this; NULL where there are none.'),
	('visits', 'visit', 'Number of the visit, from 1; a key that was deleted and comes back goes on counting, as does its episode.'),
	('visits', 'episode', 'Episode in which the visit ended or runs: 1, and one more for each reopening.'),
	('visits', 'pipeline_id', 'Pipeline.'),
	('visits', 'pipeline_name', 'Present name of the pipeline.'),
	('visits', 'stage_id', 'Stage.'),
	('visits', 'stage_name', 'Present name of the stage.'),
	('visits', 'entered_at', 'When the deal entered the stage.'),
	('visits', 'exited_at', 'When it left the stage or was deleted; NULL: it is there.'),
	('visits', 'duration', 'How long it was, or has been, in the stage.'),
	('visits', 'running', 'Is the deal in the stage now?'),
	('visits', 'transient', 'Was the stage left at once (within 20 microseconds, as by the next change of the same transaction)?'),
	('visits', 'owner', 'Owner at the end of the visit.'),
	('visits', 'amount', 'Amount at the end of the visit.'),
	('visits', 'change', 'Kind of change that ended the visit; NULL while it runs.'),
	('stalled', 'stalled_at', 'When the limit of the stage was reached.'),
	('stalled', 'days_over', 'Days of 24 hours since then.'),
	('stalled', 'reasons', 'Why the deal needs a look: over_limit, past_expected_close, no_amount, no_next_action (none planned, or missed), pipeline_mismatch (deals of its type belong to another pipeline), pushed_<n>_times (its closing was expected later and later), skipped_stage:<name>.'),
	('closings', 'episode', 'Episode that was closed: 1, and one more for each reopening.'),
	('closings', 'outcome', 'Outcome, as the definitions were then: won, lost, disqualified, done.'),
	('closings', 'closed_at', 'Instant of the closing.'),
	('closings', 'closed_on', 'Day of the closing.  Periods use it.'),
	('closings', 'reason', 'Why: close_reason of the deal, else (or where that is left from a closing before) the reason that was given for the change.'),
	('closings', 'notes', 'Notes on the closing.'),
	('closings', 'competitor', 'Against whom the deal was won or lost.'),
	('closings', 'amount', 'Amount, as long as the closing stood.'),
	('closings', 'currency', 'Currency of the amount; NULL: the table has no default currency, and none was given.'),
	('closings', 'probability_before', 'Percent: the last one before the closing, the deal''s own or that of its stage then; NULL for a deal that was made closed.'),
	('closings', 'category_before', 'The last forecast category before the closing; NULL for a deal that was made closed.'),
	('closings', 'from_pipeline_id', 'Pipeline that the deal was last open in; NULL for a deal that was made closed.'),
	('closings', 'from_pipeline_name', 'Present name of that pipeline.'),
	('closings', 'from_stage_id', 'Stage that the deal was last open in; NULL for a deal that was made closed.'),
	('closings', 'from_stage_name', 'Present name of that stage.'),
	('closings', 'furthest_stage_id', 'Furthest stage that the episode had reached before the closing.'),
	('closings', 'furthest_stage_name', 'Present name of that stage.'),
	('closings', 'pipeline_id', 'Pipeline that the deal was closed in.'),
	('closings', 'pipeline_name', 'Present name of that pipeline.'),
	('closings', 'stage_id', 'Stage that the deal was closed in.'),
	('closings', 'stage_name', 'Present name of that stage.'),
	('closings', 'owner', 'Owner, as long as the closing stood.'),
	('closings', 'reopened_at', 'When the deal was reopened, or NULL.'),
	('closings', 'superseded_at', 'When a closing of another outcome took its place, or NULL.'),
	('closings', 'deleted_at', 'When the closed deal was deleted, or NULL.'),
	('review', 'deal', 'The deal: text form of its key.'),
	('review', 'flags', 'Why it is here: new, moved (another stage, pipeline or outcome), pushed_back (to an earlier stage, by push_back()), stalled, pushed (expected to close later), past_due, no_next_step, large.'),
	('review', 'pipeline_id', 'Pipeline.'),
	('review', 'pipeline_name', 'Name of the pipeline.'),
	('review', 'stage_id', 'Stage.'),
	('review', 'stage_name', 'Name of the stage.'),
	('review', 'outcome', 'Outcome of the stage: open, on_hold, won, lost, disqualified, done.'),
	('review', 'owner', 'Owner.'),
	('review', 'currency', 'Currency of the amounts; NULL: the table has no default currency, and none was given.'),
	('review', 'amount', 'Amount.'),
	('review', 'amount_before', 'Amount seven days ago; NULL: none, or the deal was not there.'),
	('review', 'probability', 'Percent, as it counts.'),
	('review', 'stage_before', 'Name of the stage seven days ago.'),
	('review', 'expected_close_on', 'Day of the expected closing.'),
	('review', 'expected_before', 'Day of the expected closing seven days ago.'),
	('review', 'pushed_days', 'By how many days the expected closing was put off; negative: brought forward.'),
	('review', 'next_action_at', 'When the next step is due.'),
	('review', 'days_in_stage', 'Days of 24 hours since the stage was entered.'),
	('scores', 'deal', 'The deal: text form of its key.'),
	('scores', 'pipeline_id', 'Pipeline.'),
	('scores', 'pipeline_name', 'Name of the pipeline.'),
	('scores', 'stage_id', 'Stage.'),
	('scores', 'stage_name', 'Name of the stage.'),
	('scores', 'furthest_stage_id', 'The furthest stage that the deal has reached in its episode.'),
	('scores', 'age_days', 'Days of 24 hours since the deal was created.'),
	('scores', 'score', 'Chance of being won in percent, by how deals like it ended.'),
	('scores', 'stage_probability', 'Percent: the probability of its stage.'),
	('scores', 'effective_probability', 'Percent, as it counts: the deal''s own, else the score where its pipeline uses scores, else that of its stage.'),
	('scores', 'probability_source', 'Where the probability that counts comes from: deal, score, stage.'),
	('scores', 'basis', 'model, or stage_rate where too few deals like it were closed.'),
	('scores', 'won', 'Deals that were as far at that age and were won.'),
	('scores', 'lost', 'Deals that were as far at that age and were not won.'),
	('scores', 'log_odds', 'Sum of the contributions; NULL for stage_rate.'),
	('scores', 'contributions', 'What each feature adds to the log odds, in natural logarithms.'),
	('forecast_accuracy', 'pipeline_id', 'Pipeline.'),
	('forecast_accuracy', 'pipeline_name', 'Name of the pipeline.'),
	('forecast_accuracy', 'period_label', 'The month.'),
	('forecast_accuracy', 'starts', 'First day of the period.'),
	('forecast_accuracy', 'ends', 'First day after the period.'),
	('forecast_accuracy', 'dimension', 'What the report is split by: nothing here.'),
	('forecast_accuracy', 'currency', 'Currency of the amounts; NULL: the table has no default currency, and none was given.'),
	('forecast_accuracy', 'horizon', 'Days before the end of the period.'),
	('forecast_accuracy', 'forecast_at', 'The instant of the forecast: midnight in the time zone of the pipeline.'),
	('forecast_accuracy', 'won_then', 'Amounts that had been won in the period by then.'),
	('forecast_accuracy', 'weighted_then', 'Open amounts that were expected in it, times their probabilities of that day.'),
	('forecast_accuracy', 'forecast', 'Both together.'),
	('forecast_accuracy', 'actual', 'What was won in the period.'),
	('forecast_accuracy', 'error', 'Forecast less actual: positive where too much was promised.'),
	('forecast_accuracy', 'error_percent', 'The error in percent of the actual; NULL where nothing was won.'),
	('quota', 'forecast_type', 'What is measured: code of the forecast type.'),
	('quota', 'forecast_period', 'Kind of the period: week, month, quarter, year.  The same deals are in each kind: choose one.'),
	('quota', 'fiscal_period', 'Label of the fiscal period.'),
	('quota', 'starts', 'First day of the period.'),
	('quota', 'ends', 'First day after the period.'),
	('quota', 'bucket', 'period; overdue: still open on a later day than expected; undated: the day is not known; no_period: the day is in no fiscal period.'),
	('quota', 'dimension', 'By what the row is split: owner, unit, team ... as quotas are set.  Each way to split shows all the deals: choose one.'),
	('quota', 'owner', 'Owner of the deals.'),
	('quota', 'unit_id', 'Unit of the sales structure, with all that is below it.'),
	('quota', 'unit_name', 'Name of the unit.'),
	('quota', 'team', 'Team, as the deals have it.'),
	('quota', 'territory', 'Sales territory.'),
	('quota', 'pipeline_id', 'Pipeline.'),
	('quota', 'pipeline_name', 'Name of the pipeline.'),
	('quota', 'product', 'Product or product line.'),
	('quota', 'dimensions', 'Further keys, or NULL.'),
	('quota', 'currency', 'Currency of the amounts; NULL: no money, or none is known.'),
	('quota', 'deals', 'How many deals.'),
	('quota', 'unpriced', 'How many of them have no value in the measure.'),
	('quota', 'unconverted', 'Sums that could not be converted, by currency, or NULL.'),
	('quota', 'quota', 'The target; NULL: none was set.'),
	('quota', 'quota_source', 'own; sum: of the periods in it; split: part of a longer one.'),
	('quota', 'won', 'What was won in the period.'),
	('quota', 'gap', 'quota - won; negative when over-achieved.'),
	('quota', 'pipeline', 'What is open and expected to close in the period.'),
	('quota', 'weighted', 'The same times its probability.'),
	('quota', 'projected', 'won + weighted.'),
	('quota', 'projected_attainment', 'projected / quota.'),
	('quota', 'attainment', 'won / quota.'),
	('quota', 'remaining', 'What is left to win: gap, at least 0.'),
	('quota', 'coverage', 'pipeline / quota.'),
	('quota', 'coverage_remaining', 'pipeline / remaining.'),
	('quota', 'required_win_rate', 'remaining / pipeline.'),
	('quota', 'expected_to_date', 'quota times the share of the days of the period that are over.'),
	('quota', 'pace_gap', 'won - expected_to_date.'),
	('quota', 'shortage_pct', 'The share of the quota that is neither won nor in the pipeline, 0 to 1.'),
	('quota', 'children_quota', 'Of a unit: the quotas of the units and owners directly below it, added up.'),
	('quota', 'mismatch', 'quota - children_quota.'),
	('quota', 'stddev', 'Standard deviation of what the open deals will bring; 0 where there are none.'),
	('quota', 'p10', 'With a chance of 10 % won and open deals together bring at most this.'),
	('quota', 'p50', 'With a chance of 50 % won and open deals together bring at most this.'),
	('quota', 'p90', 'With a chance of 90 % won and open deals together bring at most this.'),
	('quota', 'chance', 'Chance that the quota is reached, 0 to 1.'))
	SELECT c.kind, c.name, c.comment FROM c
	UNION ALL
	-- the same columns, of fewer rows
	SELECT 'behind', c.name, c.comment FROM c WHERE c.kind = 'quota'
$$;
COMMENT ON FUNCTION pipelines._view_columns() IS
	'What the columns of the views mean.';

-- A column of the deals (d) or of their history (h) by its role, in the type
-- that views show it in; a typed NULL where the table has none.
CREATE FUNCTION pipelines._column(deals regclass, role text, type text DEFAULT NULL, of_history boolean DEFAULT false)
RETURNS text
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 2000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	alias CONSTANT text := CASE WHEN of_history THEN 'h' ELSE 'd' END;
	x record;
BEGIN
	SELECT a.attname AS name, a.atttypid AS type, t.application ->> 'scale' AS scale INTO x
	FROM pipelines._roles(deals) m
	JOIN pipelines.tracked_table t ON t.relation = _column.deals
	JOIN pg_attribute a ON a.attrelid = CASE WHEN of_history THEN t.history ELSE t.relation END
		AND a.attname = CASE WHEN of_history THEN m.history_column ELSE m.column_name END AND a.attnum > 0
	WHERE m.role = _column.role;
	RETURN CASE
		WHEN x.name IS NULL THEN format('CAST(NULL AS %s)', coalesce(_column.type, 'text'))
		-- the application's own: percent, or a fraction of 1, and perhaps neither
		WHEN _column.role = 'probability' AND x.scale IS NOT NULL
		THEN format('CASE WHEN %1$s.%2$I BETWEEN 0 AND %3$s THEN round(CAST(%1$s.%2$I AS numeric) * %4$s, 2) END',
					alias, x.name, CASE x.scale WHEN 'fraction' THEN 1 ELSE 100 END,
					CASE x.scale WHEN 'fraction' THEN 100 ELSE 1 END)
		WHEN _column.type IS NULL OR x.type = _column.type::regtype
		THEN format('%s.%I', alias, x.name)
		ELSE format('CAST(%s.%I AS %s)', alias, x.name, _column.type) END;
END
$$;
COMMENT ON FUNCTION pipelines._column(regclass, text, text, boolean) IS
	'A column of a deals table or its history by role, as SQL text.';

CREATE FUNCTION pipelines._live_name(deals regclass)
RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 10
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('what says which rows of table "%s" count as deals (live)', c.relname) FROM pg_class c WHERE c.oid = $1
$$;
COMMENT ON FUNCTION pipelines._live_name(regclass) IS
	'How errors call the condition live of a deals table, which stands in pipelines.tracked_table.';

-- What views read as the deals: the table, or its rows that count as deals.
-- wanted: the columns that are needed of it; NULL: all.  The condition stands in
-- tracked_table, which is not the deals' owner's: it is looked at each time
-- before it goes into a command.
CREATE FUNCTION pipelines._deals_source(deals regclass, wanted name[] DEFAULT NULL)
RETURNS text
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 2000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	condition text;
BEGIN
	SELECT t.live INTO condition FROM pipelines.tracked_table t WHERE t.relation = _deals_source.deals;
	IF condition IS NULL THEN
		RETURN deals::text;
	END IF;
	IF NOT pipelines._is_condition(deals, condition, pipelines._live_name(deals)) THEN
		RAISE EXCEPTION '% is not a condition', pipelines._live_name(deals)
			USING ERRCODE = 'syntax_error',
				  DETAIL = condition,
				  HINT = 'Mend the column live of pipelines.tracked_table.';
	END IF;
	RETURN format(E'(SELECT %s FROM %s WHERE (%s\n))',
				  (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a
				   WHERE a.attrelid = _deals_source.deals AND a.attnum > 0 AND NOT a.attisdropped
					AND (wanted IS NULL OR a.attname = ANY (wanted))),
				  deals, condition);
END
$$;
COMMENT ON FUNCTION pipelines._deals_source(regclass, name[]) IS
	'What stands after FROM for the deals, as SQL text: the table, or those of its rows that tracked_table.live names.';

-- Does the history say by itself which of its versions are deals, so that it tells
-- when one ceased to be?
CREATE FUNCTION pipelines._live_is_tracked(deals regclass)
RETURNS boolean
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT t.live IS NOT NULL AND NOT EXISTS (SELECT FROM pipelines._condition_columns($1, t.live, pipelines._live_name($1)) w
											  LEFT JOIN pipelines._layout_columns($1) m ON m.attnum = w.attnum
											  WHERE m.history_attnum IS NULL)
	FROM pipelines.tracked_table t
	WHERE t.relation = $1
$$;
COMMENT ON FUNCTION pipelines._live_is_tracked(regclass) IS
	'Is there a condition that says which rows are deals, and are all of its columns tracked?';

-- Rows (d) that are no deals any more, by their tracked columns, and when each
-- ceased to be one (e.at): after the last version that was one and had what the
-- row has for a role.
CREATE FUNCTION pipelines._ceased(deals regclass, same text)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format(E'%s\n\t\tCROSS JOIN LATERAL (SELECT max(h.%I) FROM %s WHERE %s AND c2.met AND %s = %s AND %s = %s) e(at)\n\t\tWHERE NOT c2.met AND e.at IS NOT NULL',
		pipelines._bridge_from($1, false, NULL), pipelines._own_column(t.history, 'valid_to'), pipelines._bridge_from($1, true, NULL),
		pipelines._key_match($1, 'h', 'd'), pipelines._column($1, 'episode', NULL, true), pipelines._column($1, 'episode'),
		pipelines._column($1, $2, NULL, true), pipelines._column($1, $2))
	FROM pipelines.tracked_table t
	WHERE t.relation = $1 AND pipelines._live_is_tracked($1)
$$;
COMMENT ON FUNCTION pipelines._ceased(regclass, text) IS
	'What stands after FROM for the rows that are no deals any more, as SQL text; NULL where the history does not tell.';

-- A column that it names may have been dropped since.
CREATE FUNCTION pipelines._live_problem(deals regclass)
RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE COST 2000
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM pipelines._deals_source(deals, '{}');
	RETURN NULL;
EXCEPTION WHEN syntax_error_or_access_rule_violation OR data_exception OR feature_not_supported THEN
	RETURN format('%s; mend the column live of pipelines.tracked_table: %s', SQLERRM,
				  (SELECT t.live FROM pipelines.tracked_table t WHERE t.relation = _live_problem.deals));
END
$$;
COMMENT ON FUNCTION pipelines._live_problem(regclass) IS
	'What is wrong with the condition that says which rows of a deals table count as deals, in words; NULL: nothing.';

CREATE FUNCTION pipelines._role_columns(deals regclass)
RETURNS name[]
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 2000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT array_agg(r.column_name) FROM pipelines._roles($1) r
$$;
COMMENT ON FUNCTION pipelines._role_columns(regclass) IS
	'The columns of a deals table that play a part.';

-- a name for a column of ours beside those that are taken
CREATE FUNCTION pipelines._free_name(taken name[], wanted text)
RETURNS text
LANGUAGE plpgsql IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN quote_ident(CASE WHEN $2::name = ANY ($1) THEN 'pipelines_' || $2 ELSE $2 END);
END
$$;
COMMENT ON FUNCTION pipelines._free_name(name[], text) IS
	'A column name, with the prefix pipelines_ where it is taken; quoted.';

-- An application's own column may be a copy of the stage's probability: then it
-- is no reason to disregard a score.
CREATE FUNCTION pipelines._own_probability(deals regclass, stage_probability text)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 2000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN t.application ? 'scale' THEN format('nullif(%s, %s)', pipelines._column($1, 'probability', 'numeric'), $2)
				ELSE pipelines._column($1, 'probability', 'numeric') END
	FROM pipelines.tracked_table t WHERE t.relation = $1
$$;
COMMENT ON FUNCTION pipelines._own_probability(regclass, text) IS
	'The probability that a deal (d) has of its own, as SQL text; NULL where it says the same as its stage.';

-- The deals (d) with their definitions (p pipeline, ps pipeline stage, s
-- stage) and what follows from both (e): closed, probability, category.
CREATE FUNCTION pipelines._deal_from(deals regclass)
RETURNS text
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN format($sql$
	FROM %1$s d
	LEFT JOIN pipelines.pipeline p ON p.pipeline_id = %2$s
	LEFT JOIN pipelines.pipeline_stage ps ON ps.pipeline_id = %2$s AND ps.stage_id = %3$s
	LEFT JOIN pipelines.stage s ON s.stage_id = %3$s
	CROSS JOIN LATERAL (
		SELECT coalesce(ps.outcome NOT IN ('open', 'on_hold'), false) AS closed,
			   CASE WHEN ps.outcome = 'won' THEN 100::numeric
					WHEN ps.outcome IN ('lost', 'disqualified', 'done') THEN 0::numeric
					%6$sELSE coalesce(%4$s, ps.probability) END AS probability,
			   CASE WHEN ps.outcome = 'won' THEN 'closed'
					WHEN ps.outcome IN ('lost', 'disqualified', 'done') THEN 'omitted'
					ELSE coalesce(%5$s, ps.forecast_category,
								  CASE WHEN ps.outcome = 'on_hold' THEN 'omitted' ELSE 'pipeline' END)
					END AS category
	) e$sql$,
		pipelines._deals_source($1, NULL::name[]), pipelines._column($1, 'pipeline_id'), pipelines._column($1, 'stage_id'),
		pipelines._column($1, 'probability', 'numeric'), pipelines._column($1, 'forecast_category', 'text'),
		CASE WHEN pipelines._scored($1)
			THEN format('WHEN p.use_scores THEN coalesce(%s, %s, ps.probability) ',
						pipelines._own_probability($1, 'ps.probability'), pipelines._score_text($1, 'ps.probability'))
			ELSE '' END);
END
$$;
COMMENT ON FUNCTION pipelines._deal_from(regclass) IS
	'The FROM clause that joins deals with their definitions, as SQL text.';

-- The columns of T_current: those of T, then ours.
CREATE FUNCTION pipelines._current_columns(deals regclass)
RETURNS TABLE (n integer, name text, expression text)
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000 ROWS 50
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN QUERY
		-- a column of a type of ours would be dropped with the extension
		SELECT a.attnum::integer, a.attname::text,
			   CASE WHEN t.typnamespace = 'pipelines'::regnamespace
					THEN format('CAST(d.%I AS %s)', a.attname, CASE WHEN t.typname = 'probability' THEN 'numeric' ELSE 'text' END)
					ELSE format('d.%I', a.attname) END
		FROM pg_attribute a
		JOIN pg_type t ON t.oid = a.atttypid
		WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
		UNION ALL
		SELECT 10000 + x.n,
			   CASE WHEN EXISTS (SELECT FROM pg_attribute a
								 WHERE a.attrelid = $1 AND a.attname = x.name AND NOT a.attisdropped)
					THEN 'pipelines_' || x.name ELSE x.name END,
			   x.expression
		FROM (VALUES
			(1, 'pipeline_name', 'p.name'),
			(2, 'stage_name', 's.name'),
			(3, 'position', 'ps.position'),
			(4, 'outcome', 'ps.outcome'),
			(5, 'effective_probability', 'e.probability'),
			(6, 'probability_source',
			 -- an application's own column may be a copy of the stage's probability
			 CASE WHEN pipelines._scored($1)
				THEN format('CASE WHEN e.closed THEN ''stage'' WHEN %s IS NOT NULL THEN ''deal'' WHEN p.use_scores AND %s IS NOT NULL THEN ''score'' ELSE ''stage'' END',
							pipelines._own_probability($1, 'ps.probability'), pipelines._score_text($1, 'ps.probability'))
				ELSE format('CASE WHEN e.closed OR %s IS NULL THEN ''stage'' ELSE ''deal'' END',
							pipelines._own_probability($1, 'ps.probability')) END),
			(7, 'effective_category', 'e.category'),
			(8, 'weighted',
			 format('CASE WHEN e.category <> ''omitted'' THEN %1$s * e.probability * 0.01 WHEN %1$s IS NOT NULL THEN 0::numeric END',
					pipelines._column($1, 'amount', 'numeric'))),
			(9, 'days_in_stage',
			 format('CASE WHEN e.closed THEN 0::numeric ELSE round((extract(epoch FROM greatest(now() - %s, interval ''0'')) / 86400)::numeric, 2) END',
					pipelines._column($1, 'stage_entered_at'))),
			(10, 'age_days',
			 format('round((extract(epoch FROM CASE WHEN isfinite(%2$s) AND (e.closed AND NOT isfinite(%1$s)) IS NOT TRUE THEN coalesce(CASE WHEN e.closed THEN %1$s END, now()) - %2$s END) / 86400)::numeric, 2)',
					pipelines._column($1, 'closed_at', 'timestamptz'), pipelines._column($1, 'created_at', 'timestamptz')))
		) x(n, name, expression)
		ORDER BY 1;
END
$$;
COMMENT ON FUNCTION pipelines._current_columns(regclass) IS
	'The columns of T_current, with their expressions.';

-- A view that is there keeps the order of its columns, and new ones follow, so
-- that it can be replaced under whatever stands on it.
CREATE FUNCTION pipelines._select_list(names text[], expressions text[], existing regclass)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT string_agg(format(E'%s AS %I', x.expression, x.name), E',\n\t' ORDER BY coalesce(a.attnum, 10000), x.n)
	FROM unnest($1, $2) WITH ORDINALITY x(name, expression, n)
	LEFT JOIN pg_attribute a ON a.attrelid = $3 AND a.attnum > 0 AND a.attname = x.name
$$;
COMMENT ON FUNCTION pipelines._select_list(text[], text[], regclass) IS
	'A select list, in the order of the columns of an existing view if there is one.';

CREATE FUNCTION pipelines._current_view(deals regclass, existing regclass)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('SELECT %s%s',
				  pipelines._select_list(array_agg(c.name ORDER BY c.n), array_agg(c.expression ORDER BY c.n), $2),
				  pipelines._deal_from($1))
	FROM pipelines._current_columns($1) c
$$;
COMMENT ON FUNCTION pipelines._current_view(regclass, regclass) IS 'The text of the view T_current.';

-- Does any pipeline use scores?  Where none does, whatever of a query stands
-- under this costs nothing: it is asked once, before the rest is begun.
CREATE FUNCTION pipelines._scores_used()
RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN EXISTS (SELECT FROM pipelines.pipeline p WHERE p.use_scores);
END
$$;
COMMENT ON FUNCTION pipelines._scores_used() IS
	'Does any pipeline that the caller sees use scores?';

-- Has the table been trained?  Until then its views know nothing of scores, and
-- need nothing of the extension for them.
CREATE FUNCTION pipelines._scored(deals regclass)
RETURNS boolean
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	-- definitions of an earlier state have no scores yet
	RETURN to_regclass('pipelines.score_model') IS NOT NULL
		AND EXISTS (SELECT FROM pipelines.score_model m WHERE m.relation = _scored.deals);
END
$$;
COMMENT ON FUNCTION pipelines._scored(regclass) IS
	'Are there scores for the deals of a table?';

-- Do scores count in reports on the table, by the pipelines as they were at an
-- instant (NULL: now)?  Asked when a report's query is made: where they don't, it
-- knows nothing of them.
CREATE FUNCTION pipelines._scores_count(deals regclass, at timestamptz)
RETURNS boolean
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 2000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN $2 < now() THEN EXISTS (SELECT FROM pipelines.definitions_as_of(NULL::pipelines.pipeline, $2) p WHERE p.use_scores)
				ELSE pipelines._scores_used() END
		AND pipelines._scored($1)
$$;
COMMENT ON FUNCTION pipelines._scores_count(regclass, timestamptz) IS
	'Are there scores for the deals of a table, and did any pipeline use them at an instant (NULL: now)?';

-- By how much scores make the weighted sums of T_board more or less: a pass of
-- its own over the deals of the pipelines that use scores, if there are any.
CREATE FUNCTION pipelines._board_scores(deals regclass)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format($sql$
	LEFT JOIN (
		SELECT y.pipeline_id, y.stage_id, y.currency,
			   sum(y.more) FILTER (WHERE y.category IS NULL) AS more,
			   sum(y.more) FILTER (WHERE y.category <> 'omitted') AS said_more
		FROM (SELECT %2$s AS pipeline_id, %3$s AS stage_id, coalesce(%4$s, %1$s) AS currency, %5$s AS category,
					 %9$s * (coalesce(%6$s, pt.probability) - pt.probability) AS more
			  FROM %7$s d
			  JOIN pipelines.pipeline pp ON pp.pipeline_id = %2$s AND pp.use_scores
			  JOIN pipelines.pipeline_stage pt ON pt.pipeline_id = %2$s AND pt.stage_id = %3$s AND pt.outcome IN ('open', 'on_hold')
			  WHERE pipelines._scores_used() AND %8$s IS NULL) y
		GROUP BY y.pipeline_id, y.stage_id, y.currency
	) c ON c.pipeline_id = ps.pipeline_id AND c.stage_id = ps.stage_id AND c.currency IS NOT DISTINCT FROM g.currency$sql$,
		quote_nullable(t.currency) || '::text', pipelines._column($1, 'pipeline_id'), pipelines._column($1, 'stage_id'),
		pipelines._column($1, 'currency', 'text'), pipelines._column($1, 'forecast_category', 'text'),
		pipelines._score_text($1, 'pt.probability'), pipelines._deals_source($1, NULL::name[]),
		pipelines._own_probability($1, 'pt.probability'), pipelines._column($1, 'amount', 'numeric'))
	FROM pipelines.tracked_table t
	WHERE t.relation = $1
$$;
COMMENT ON FUNCTION pipelines._board_scores(regclass) IS
	'The join of T_board that adds what scores say.';

-- One pass over the deals, grouped by stage before the definitions are joined:
-- a stage's probability multiplies a sum once, and not each amount.  Apart are
-- kept the deals with an override of the probability (their products), and
-- those with an override of the category (which omits them, or not).  By how
-- much scores make it more is added up in a pass of its own, if any are used.
CREATE FUNCTION pipelines._board_view(deals regclass)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format($sql$
	SELECT p.pipeline_id,
		   p.name AS pipeline_name,
		   ps.stage_id,
		   s.name AS stage_name,
		   ps.position,
		   ps.outcome,
		   coalesce(g.currency, %1$s) AS currency,
		   coalesce(g.deals, 0) AS deals,
		   coalesce(g.unpriced, 0) AS unpriced,
		   coalesce(g.amount, 0) AS amount,
		   CASE WHEN ps.outcome = 'won' THEN coalesce(g.amount, 0)
				WHEN ps.outcome IN ('lost', 'disqualified', 'done') THEN 0::numeric
				ELSE (coalesce(g.said_product, 0) + coalesce(g.said_amount, 0) * ps.probability%11$s +
					  CASE WHEN coalesce(ps.forecast_category, ps.outcome) NOT IN ('omitted', 'on_hold')
						   THEN coalesce(g.product, 0) + coalesce(g.plain_amount, 0) * ps.probability%12$s
						   ELSE 0::numeric END) * 0.01
				END AS weighted,
		   CASE WHEN g.deals IS NULL THEN NULL
				WHEN ps.outcome NOT IN ('open', 'on_hold') THEN 0::numeric
				ELSE round(((extract(epoch FROM now()) - g.entered) / 86400)::numeric, 2)
				END AS avg_days_in_stage
	FROM pipelines.pipeline p
	JOIN pipelines.pipeline_stage ps ON ps.pipeline_id = p.pipeline_id
	JOIN pipelines.stage s ON s.stage_id = ps.stage_id
	LEFT JOIN (
		SELECT x.pipeline_id, x.stage_id, x.currency,
			   count(*) AS deals,
			   count(*) - count(x.amount) AS unpriced,
			   sum(x.amount) AS amount,
			   sum(x.amount) FILTER (WHERE x.probability IS NULL AND x.category IS NULL) AS plain_amount,
			   sum(x.amount * x.probability) FILTER (WHERE x.probability IS NOT NULL AND x.category IS NULL) AS product,
			   sum(x.amount) FILTER (WHERE x.probability IS NULL AND x.category <> 'omitted') AS said_amount,
			   sum(x.amount * x.probability) FILTER (WHERE x.probability IS NOT NULL AND x.category <> 'omitted') AS said_product,
			   avg(date_part('epoch', x.entered)) AS entered
		FROM (SELECT %2$s AS pipeline_id, %3$s AS stage_id, coalesce(%4$s, %1$s) AS currency,
					 %5$s AS amount, %6$s AS probability, %7$s AS category, %8$s AS entered
			  FROM %9$s d) x
		GROUP BY x.pipeline_id, x.stage_id, x.currency
	) g ON g.pipeline_id = ps.pipeline_id AND g.stage_id = ps.stage_id%13$s
	WHERE %10$s
		AND (g.deals IS NOT NULL OR (ps.archived_at IS NULL AND p.archived_at IS NULL))
	ORDER BY p.pipeline_id, ps.position, ps.stage_id, g.currency$sql$,
		quote_nullable(t.currency) || '::text',
		pipelines._column($1, 'pipeline_id'), pipelines._column($1, 'stage_id'),
		pipelines._column($1, 'currency', 'text'), pipelines._column($1, 'amount', 'numeric'),
		pipelines._column($1, 'probability', 'numeric'), pipelines._column($1, 'forecast_category', 'text'),
		pipelines._column($1, 'stage_entered_at'), pipelines._deals_source($1, pipelines._role_columns($1)), coalesce('p.layout_id = ' || t.layout_id, 'true'),
		CASE WHEN c.scored IS NULL THEN '' ELSE ' + coalesce(c.said_more, 0)' END,
		CASE WHEN c.scored IS NULL THEN '' ELSE ' + coalesce(c.more, 0)' END, coalesce(c.scored, ''))
	FROM pipelines.tracked_table t
	CROSS JOIN (SELECT CASE WHEN pipelines._scored($1) THEN pipelines._board_scores($1) END) c(scored)
	WHERE t.relation = $1
$$;
COMMENT ON FUNCTION pipelines._board_view(regclass) IS 'The text of the view T_board.';

-- A day that an instant can be made of, as SQL text: dates go further than those.
CREATE FUNCTION pipelines._within_instants(day text)
RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 10
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('CASE WHEN %1$s <= date ''294276-12-31'' OR %1$s = ''infinity'' THEN %1$s END', $1)
$$;
COMMENT ON FUNCTION pipelines._within_instants(text) IS
	'A day, or NULL where it lies beyond all instants, as SQL text.';

-- The deals whose scores count, as T_forecast takes them: an arm of their own,
-- which is not begun where no pipeline uses scores.
CREATE FUNCTION pipelines._forecast_scores(deals regclass)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format($sql$
			WHERE k.scored IS NOT TRUE
			UNION ALL
			SELECT %1$s, date_trunc('month', (%12$s)::timestamp)::date,
				   CASE WHEN %2$s IS NULL THEN 2 WHEN %2$s < k.today THEN 1 ELSE 0 END,
				   %3$s, coalesce(%4$s, %5$s), %6$s, coalesce(%7$s, %8$s, k.probability),
				   CASE WHEN %9$s IS NULL THEN k.counts_as WHEN %9$s = 'omitted' THEN 'done' ELSE 'open' END
			FROM %10$s d
			JOIN (
				SELECT ps.pipeline_id, ps.stage_id, ps.probability,
					   CASE WHEN coalesce(ps.forecast_category, ps.outcome) IN ('omitted', 'on_hold') THEN 'done' ELSE 'open' END AS counts_as,
					   (now() AT TIME ZONE coalesce(pp.time_zone, current_setting('TimeZone')))::date AS today
				FROM pipelines.pipeline_stage ps
				JOIN pipelines.pipeline pp ON pp.pipeline_id = ps.pipeline_id
				WHERE pp.use_scores AND ps.outcome IN ('open', 'on_hold')
				OFFSET 0
			) k ON k.pipeline_id = %1$s AND k.stage_id = %11$s
			WHERE pipelines._scores_used()$sql$,
		pipelines._column($1, 'pipeline_id'), pipelines._column($1, 'expected_close_on', 'date'),
		pipelines._column($1, 'owner', 'text'), pipelines._column($1, 'currency', 'text'), quote_nullable(t.currency) || '::text',
		pipelines._column($1, 'amount', 'numeric'), pipelines._own_probability($1, 'k.probability'),
		pipelines._score_text($1, 'k.probability'), pipelines._column($1, 'forecast_category', 'text'),
		pipelines._deals_source($1, NULL::name[]), pipelines._column($1, 'stage_id'),
		pipelines._within_instants(pipelines._column($1, 'expected_close_on', 'date')))
	FROM pipelines.tracked_table t
	WHERE t.relation = $1
$$;
COMMENT ON FUNCTION pipelines._forecast_scores(regclass) IS
	'The arm of T_forecast for deals whose scores count, with the condition that keeps them out of the other.';

-- One pass over the deals, with as little work for each as can be: what follows
-- from the stage alone is worked out once a stage (OFFSET 0 keeps the planner
-- from merging that into the pass), and names are joined to the groups.  The
-- category decides whether a deal that is not closed takes part: an omitted one
-- goes into the aggregate as done, so that it counts as a deal and adds nothing;
-- any other as open, on hold or not.  Deals whose score counts come from an arm
-- of their own, which is not begun where no pipeline uses scores.  The quantiles come from a subquery that
-- is not merged either: once a row, and only if anybody asks.
CREATE FUNCTION pipelines._forecast_view(deals regclass)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format($sql$
	SELECT g.pipeline_id, p.name AS pipeline_name, g.month,
		   CASE g.bucket WHEN 0 THEN 'month' WHEN 1 THEN 'overdue' ELSE 'undated' END AS bucket,
		   g.owner, g.currency, g.deals, g.unpriced,
		   coalesce(pipelines.pipeline(g.forecast), 0) AS pipeline,
		   coalesce(pipelines.weighted(g.forecast), 0) AS weighted,
		   coalesce(pipelines.won(g.forecast), 0) AS won,
		   coalesce(pipelines.lost(g.forecast), 0) AS lost,
		   pipelines.stddev(g.forecast) AS stddev,
		   q.quantiles[1] AS p10,
		   q.quantiles[2] AS p50,
		   q.quantiles[3] AS p90
	FROM (
		SELECT x.pipeline_id, x.month, x.bucket, x.owner, x.currency,
			   count(*) AS deals,
			   count(*) - count(x.amount) AS unpriced,
			   pipelines.forecast(x.amount, x.probability, x.counts_as) AS forecast
		FROM (
			SELECT %1$s AS pipeline_id,
				   date_trunc('month', (CASE WHEN k.closed THEN %13$s ELSE %14$s END)::timestamp)::date AS month,
				   CASE WHEN k.closed AND %2$s IS NOT NULL THEN 0
						WHEN k.closed OR %3$s IS NULL THEN 2
						WHEN %3$s < k.today THEN 1
						ELSE 0 END AS bucket,
				   %4$s AS owner,
				   coalesce(%5$s, %6$s) AS currency,
				   %7$s AS amount,
				   CASE WHEN k.closed THEN k.probability ELSE coalesce(%8$s, k.probability) END AS probability,
				   CASE WHEN k.closed OR %9$s IS NULL THEN coalesce(k.counts_as, 'open')
						WHEN %9$s = 'omitted' THEN 'done'
						ELSE 'open' END AS counts_as
			FROM %10$s d
			LEFT JOIN (
				SELECT ps.pipeline_id, ps.stage_id,
					   ps.outcome NOT IN ('open', 'on_hold') AS closed,
					   pp.use_scores AND ps.outcome IN ('open', 'on_hold') AS scored,
					   CASE WHEN ps.outcome = 'won' THEN 100::numeric
							WHEN ps.outcome IN ('lost', 'disqualified', 'done') THEN 0::numeric
							ELSE ps.probability END AS probability,
					   CASE WHEN ps.outcome NOT IN ('open', 'on_hold') THEN ps.outcome
							WHEN coalesce(ps.forecast_category, ps.outcome) IN ('omitted', 'on_hold') THEN 'done'
							ELSE 'open' END AS counts_as,
					   (now() AT TIME ZONE coalesce(pp.time_zone, current_setting('TimeZone')))::date AS today
				FROM pipelines.pipeline_stage ps
				JOIN pipelines.pipeline pp ON pp.pipeline_id = ps.pipeline_id
				OFFSET 0
			) k ON k.pipeline_id = %1$s AND k.stage_id = %11$s%12$s
		) x
		GROUP BY x.pipeline_id, x.month, x.bucket, x.owner, x.currency
	) g
	LEFT JOIN pipelines.pipeline p ON p.pipeline_id = g.pipeline_id
	CROSS JOIN LATERAL (SELECT pipelines.quantiles(g.forecast, '{0.1,0.5,0.9}'::pg_catalog.float8[]) AS quantiles OFFSET 0) q$sql$,
		pipelines._column($1, 'pipeline_id'), pipelines._column($1, 'closed_on', 'date'),
		pipelines._column($1, 'expected_close_on', 'date'), pipelines._column($1, 'owner', 'text'),
		pipelines._column($1, 'currency', 'text'), quote_nullable(t.currency) || '::text',
		pipelines._column($1, 'amount', 'numeric'), pipelines._column($1, 'probability', 'numeric'),
		pipelines._column($1, 'forecast_category', 'text'), pipelines._deals_source($1, pipelines._role_columns($1)),
		pipelines._column($1, 'stage_id'),
		CASE WHEN pipelines._scored($1) THEN pipelines._forecast_scores($1) ELSE '' END,
		pipelines._within_instants(pipelines._column($1, 'closed_on', 'date')),
		pipelines._within_instants(pipelines._column($1, 'expected_close_on', 'date')))
	FROM pipelines.tracked_table t
	WHERE t.relation = $1
$$;
COMMENT ON FUNCTION pipelines._forecast_view(regclass) IS 'The text of the view T_forecast.';

-- A visit ends with the version whose successor is elsewhere (or deleted), or
-- runs in the deal itself; its beginning is in the bookkeeping of its last
-- version.  So only last versions are read, and the window function only
-- counts; a condition on the key reaches both indexes through PARTITION BY.
-- Changes of one transaction are a microsecond apart each: a stay of so few
-- of them is one that no one ever saw.  On a protected table readers don't see
-- where a deal went; there the kind of the change tells that it left the stage,
-- and only an undo, which may have been of anything, has to be looked at.
CREATE FUNCTION pipelines._visits_view(deals regclass)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format($sql$
	SELECT %1$s,
		   row_number() OVER (PARTITION BY %1$s ORDER BY v.version_)::integer AS %2$s,
		   v.episode_ AS %3$s,
		   v.pipeline_ AS %4$s,
		   p.name AS %5$s,
		   v.stage_ AS %6$s,
		   s.name AS %7$s,
		   v.entered_ AS %8$s,
		   v.exited_ AS %9$s,
		   greatest(coalesce(v.exited_, now()) - v.entered_, interval '0') AS %10$s,
		   v.exited_ IS NULL AS %11$s,
		   coalesce(v.exited_ - v.entered_ < interval '20 microseconds', false) AS %12$s,
		   v.owner_ AS %13$s,
		   v.amount_ AS %14$s,
		   v.change_ AS %15$s
	FROM (
		SELECT %16$s, h.%17$I AS version_, %18$s AS episode_, %19$s AS pipeline_, %20$s AS stage_,
			   %21$s AS entered_, h.%22$I AS exited_, %23$s AS owner_, %24$s AS amount_, h.%25$I AS change_
		FROM %26$s h
		WHERE %27$s
		UNION ALL
		SELECT %28$s, %29$s, %30$s, %31$s, %32$s, %33$s, CAST(NULL AS timestamptz), %34$s, %35$s, CAST(NULL AS text)
		FROM %36$s d$sql$
		|| CASE WHEN pipelines._live_is_tracked($1) THEN $sql$
		UNION ALL
		SELECT %28$s, %29$s, %30$s, %31$s, %32$s, %33$s, e.at, %34$s, %35$s, CAST('delete' AS text)
		FROM %37$s$sql$ ELSE '' END || $sql$
	) v
	LEFT JOIN pipelines.pipeline p ON p.pipeline_id = v.pipeline_
	LEFT JOIN pipelines.stage s ON s.stage_id = v.stage_$sql$,
		k.names,
		pipelines._free_name(k.taken, 'visit'), pipelines._free_name(k.taken, 'episode'),
		pipelines._free_name(k.taken, 'pipeline_id'), pipelines._free_name(k.taken, 'pipeline_name'),
		pipelines._free_name(k.taken, 'stage_id'), pipelines._free_name(k.taken, 'stage_name'),
		pipelines._free_name(k.taken, 'entered_at'), pipelines._free_name(k.taken, 'exited_at'),
		pipelines._free_name(k.taken, 'duration'), pipelines._free_name(k.taken, 'running'),
		pipelines._free_name(k.taken, 'transient'), pipelines._free_name(k.taken, 'owner'),
		pipelines._free_name(k.taken, 'amount'), pipelines._free_name(k.taken, 'change'),
		k.in_history, pipelines._own_column(t.history, 'version'),
		pipelines._column($1, 'episode', NULL, true), pipelines._column($1, 'pipeline_id', NULL, true),
		pipelines._column($1, 'stage_id', NULL, true), pipelines._column($1, 'stage_entered_at', NULL, true),
		pipelines._own_column(t.history, 'valid_to'),
		pipelines._column($1, 'owner', 'text', true), pipelines._column($1, 'amount', 'numeric', true),
		pipelines._own_column(t.history, 'change'),
		-- a stay that went on while the row was no deal is to end in its time
		CASE WHEN pipelines._live_is_tracked($1) THEN CAST(t.history AS text) ELSE pipelines._history_source($1) END,
		pipelines._visit_ends($1),
		k.in_deals, pipelines._column($1, 'version'),
		pipelines._column($1, 'episode'), pipelines._column($1, 'pipeline_id'),
		pipelines._column($1, 'stage_id'), pipelines._column($1, 'stage_entered_at'),
		pipelines._column($1, 'owner', 'text'), pipelines._column($1, 'amount', 'numeric'), pipelines._deals_source($1),
		pipelines._ceased($1, 'stage_entered_at'))
	FROM pipelines.tracked_table t
	CROSS JOIN (SELECT string_agg('v.' || quote_ident(m.column_name), ', ' ORDER BY m.n) AS names,
					   string_agg(format('h.%I AS %I', m.history_column, m.column_name), ', ' ORDER BY m.n) AS in_history,
					   string_agg('d.' || quote_ident(m.column_name), ', ' ORDER BY m.n) AS in_deals,
					   array_agg(m.column_name) AS taken
				FROM pipelines._roles($1) m
				WHERE m.role ~ '^key[1-9]') k
	WHERE t.relation = $1
$$;
COMMENT ON FUNCTION pipelines._visits_view(regclass) IS 'The text of the view T_visits.';

-- The condition under which a version in the history (h) is the last of a visit:
-- the deal leaves its stage, or its stage becomes another outcome (R-2.34).
CREATE FUNCTION pipelines._visit_ends(deals regclass)
RETURNS text
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN (
		SELECT CASE WHEN NOT pipelines._secured($1)
			THEN format('%1$s <> h.%2$I OR %3$s <> h.%4$I OR h.%2$I IS NULL OR h.%5$I IN (''close'', ''reopen'')',
						c.stage, pipelines._own_column(t.history, 'to_stage_id'),
						c.pipeline, pipelines._own_column(t.history, 'to_pipeline_id'), pipelines._own_column(t.history, 'change'))
			ELSE format($sql$h.%1$I <> 'change' AND (h.%1$I <> 'undo' OR NOT EXISTS (
				SELECT FROM (SELECT %2$s, n.%3$I AS version_, n.%4$I AS pipeline_, n.%5$I AS stage_ FROM %6$s n
							 UNION ALL
							 SELECT %7$s, d.%8$I, d.%9$I, d.%10$I FROM %11$s d) n
				WHERE %12$s AND n.version_ = h.%3$I + 1 AND n.pipeline_ = %13$s AND n.stage_ = %14$s))$sql$,
				pipelines._own_column(t.history, 'change'), k.in_history, pipelines._own_column(t.history, 'version'),
				p.history_column, s.history_column, t.history,
				k.in_deals, v.column_name, p.column_name, s.column_name, $1,
				k.matches, c.pipeline, c.stage)
			END
		FROM pipelines.tracked_table t
		CROSS JOIN (SELECT pipelines._column($1, 'stage_id', NULL, true) AS stage,
						   pipelines._column($1, 'pipeline_id', NULL, true) AS pipeline) c
		CROSS JOIN (SELECT string_agg(format('n.%I AS k%s_', m.history_column, m.n), ', ' ORDER BY m.n) AS in_history,
						   string_agg(format('d.%I', m.column_name), ', ' ORDER BY m.n) AS in_deals,
						   string_agg(format('n.k%s_ = h.%I', m.n, m.history_column), ' AND ' ORDER BY m.n) AS matches
					FROM pipelines._roles($1) m
					WHERE m.role ~ '^key[1-9]') k
		JOIN pipelines._roles($1) p ON p.role = 'pipeline_id'
		JOIN pipelines._roles($1) s ON s.role = 'stage_id'
		JOIN pipelines._roles($1) v ON v.role = 'version'
		WHERE t.relation = $1);
END
$$;
COMMENT ON FUNCTION pipelines._visit_ends(regclass) IS
	'The condition for the last version of a visit, as SQL text.';

-- R-2.24 to R-2.28: a closing lasts as long as the deal stays closed with one
-- outcome; what it says is said by the last version of that time: the deal
-- itself, or the version that a reopening, another closing or the deletion
-- ended.  What was before it is in the newest version that a closing ended
-- while the deal was open, in the same episode; a deal that was made closed
-- has none (R-1.3).  Where a closing takes the place of another, a close_reason
-- that stands there still is that other one's (a subquery, so that who does not
-- ask for reasons does not pay for them).  Of the definitions the version counts
-- that was valid at the time, the first one for all times before it.
CREATE FUNCTION pipelines._closings_view(deals regclass)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format($sql$
	SELECT %1$s,
		   v.episode_ AS %2$s,
		   coalesce(o.outcome, ps.outcome) AS %3$s,
		   v.closed_at_ AS %4$s,
		   v.closed_on_ AS %5$s,
		   coalesce((SELECT CASE WHEN %36$s IS NOT NULL AND %38$s = v.reason_
								 THEN coalesce(CAST(h.%60$I AS text), v.reason_)
								 ELSE coalesce(v.reason_, CAST(h.%60$I AS text)) END
					 FROM %44$s h
					 WHERE %61$s AND h.%29$I < v.version_ AND %30$s = v.episode_ AND h.%35$I = 'close'
					 ORDER BY h.%29$I DESC
					 LIMIT 1), v.reason_) AS %6$s,
		   v.notes_ AS %7$s,
		   v.competitor_ AS %8$s,
		   v.amount_ AS %9$s,
		   coalesce(v.currency_, %10$s) AS %11$s,
		   coalesce(b.probability_, f.probability, bs.probability) AS %12$s,
		   coalesce(b.category_, f.forecast_category, bs.forecast_category) AS %13$s,
		   b.pipeline_ AS %14$s,
		   bp.name AS %15$s,
		   b.stage_ AS %16$s,
		   bn.name AS %17$s,
		   b.furthest_ AS %18$s,
		   fn.name AS %19$s,
		   v.pipeline_ AS %20$s,
		   p.name AS %21$s,
		   v.stage_ AS %22$s,
		   s.name AS %23$s,
		   v.owner_ AS %24$s,
		   CASE v.change_ WHEN 'reopen' THEN v.ended_ END AS %25$s,
		   CASE v.change_ WHEN 'close' THEN v.ended_ END AS %26$s,
		   CASE v.change_ WHEN 'delete' THEN v.ended_ END AS %27$s
	FROM (
		SELECT %28$s, h.%29$I AS version_, %30$s AS episode_, %31$s AS pipeline_, %32$s AS stage_,
			   h.%33$I AS since_, h.%34$I AS ended_, h.%35$I AS change_, %36$s AS closed_at_, %37$s AS closed_on_,
			   %38$s AS reason_, %39$s AS notes_, %40$s AS competitor_, %41$s AS amount_, %42$s AS currency_, %43$s AS owner_
		FROM %44$s h
		WHERE %36$s IS NOT NULL AND h.%35$I IN ('reopen', 'close', 'delete')
		UNION ALL
		SELECT %45$s, %46$s, %47$s, %48$s, %49$s,
			   %50$s, CAST(NULL AS timestamptz), CAST(NULL AS text), %51$s, %52$s,
			   %53$s, %54$s, %55$s, %56$s, %57$s, %58$s
		FROM %59$s d
		WHERE %51$s IS NOT NULL$sql$
		|| CASE WHEN pipelines._live_is_tracked($1) THEN $sql$
		UNION ALL
		SELECT %45$s, %46$s, %47$s, %48$s, %49$s,
			   %50$s, e.at, CAST('delete' AS text), %51$s, %52$s,
			   %53$s, %54$s, %55$s, %56$s, %57$s, %58$s
		FROM %65$s$sql$ ELSE '' END || $sql$
	) v
	LEFT JOIN LATERAL (
		SELECT %31$s AS pipeline_, %32$s AS stage_, %62$s AS furthest_, %63$s AS probability_, %64$s AS category_,
			   h.%34$I AS at_
		FROM %44$s h
		WHERE %61$s AND h.%29$I < v.version_ AND %30$s = v.episode_ AND h.%35$I = 'close' AND %36$s IS NULL
		ORDER BY h.%29$I DESC
		LIMIT 1
	) b ON true
	LEFT JOIN pipelines.pipeline_stage_history o
		ON o.pipeline_id = v.pipeline_ AND o.stage_id = v.stage_
		AND o.valid_to > v.since_ AND (o.valid_from <= v.since_ OR o.version = 1)
	LEFT JOIN pipelines.pipeline_stage_history f
		ON f.pipeline_id = b.pipeline_ AND f.stage_id = b.stage_
		AND f.valid_to >= b.at_ AND (f.valid_from < b.at_ OR f.version = 1)
	LEFT JOIN pipelines.pipeline_stage ps ON ps.pipeline_id = v.pipeline_ AND ps.stage_id = v.stage_
	LEFT JOIN pipelines.pipeline_stage bs ON bs.pipeline_id = b.pipeline_ AND bs.stage_id = b.stage_
	LEFT JOIN pipelines.pipeline p ON p.pipeline_id = v.pipeline_
	LEFT JOIN pipelines.pipeline bp ON bp.pipeline_id = b.pipeline_
	LEFT JOIN pipelines.stage s ON s.stage_id = v.stage_
	LEFT JOIN pipelines.stage bn ON bn.stage_id = b.stage_
	LEFT JOIN pipelines.stage fn ON fn.stage_id = b.furthest_$sql$,
		k.names,
		pipelines._free_name(k.taken, 'episode'), pipelines._free_name(k.taken, 'outcome'),
		pipelines._free_name(k.taken, 'closed_at'), pipelines._free_name(k.taken, 'closed_on'),
		pipelines._free_name(k.taken, 'reason'), pipelines._free_name(k.taken, 'notes'),
		pipelines._free_name(k.taken, 'competitor'), pipelines._free_name(k.taken, 'amount'),
		quote_nullable(t.currency) || '::text', pipelines._free_name(k.taken, 'currency'),
		pipelines._free_name(k.taken, 'probability_before'), pipelines._free_name(k.taken, 'category_before'),
		pipelines._free_name(k.taken, 'from_pipeline_id'), pipelines._free_name(k.taken, 'from_pipeline_name'),
		pipelines._free_name(k.taken, 'from_stage_id'), pipelines._free_name(k.taken, 'from_stage_name'),
		pipelines._free_name(k.taken, 'furthest_stage_id'), pipelines._free_name(k.taken, 'furthest_stage_name'),
		pipelines._free_name(k.taken, 'pipeline_id'), pipelines._free_name(k.taken, 'pipeline_name'),
		pipelines._free_name(k.taken, 'stage_id'), pipelines._free_name(k.taken, 'stage_name'),
		pipelines._free_name(k.taken, 'owner'), pipelines._free_name(k.taken, 'reopened_at'),
		pipelines._free_name(k.taken, 'superseded_at'), pipelines._free_name(k.taken, 'deleted_at'),
		k.in_history, pipelines._own_column(t.history, 'version'),
		pipelines._column($1, 'episode', NULL, true), pipelines._column($1, 'pipeline_id', NULL, true),
		pipelines._column($1, 'stage_id', NULL, true),
		pipelines._own_column(t.history, 'valid_from'), pipelines._own_column(t.history, 'valid_to'),
		pipelines._own_column(t.history, 'change'),
		pipelines._column($1, 'closed_at', 'timestamptz', true), pipelines._column($1, 'closed_on', 'date', true),
		pipelines._column($1, 'close_reason', 'text', true), pipelines._column($1, 'close_notes', 'text', true),
		pipelines._column($1, 'competitor', 'text', true), pipelines._column($1, 'amount', 'numeric', true),
		pipelines._column($1, 'currency', 'text', true), pipelines._column($1, 'owner', 'text', true), t.history,
		k.in_deals, pipelines._column($1, 'version'), pipelines._column($1, 'episode'),
		pipelines._column($1, 'pipeline_id'), pipelines._column($1, 'stage_id'), pipelines._column($1, 'changed_at'),
		pipelines._column($1, 'closed_at', 'timestamptz'), pipelines._column($1, 'closed_on', 'date'),
		pipelines._column($1, 'close_reason', 'text'), pipelines._column($1, 'close_notes', 'text'),
		pipelines._column($1, 'competitor', 'text'), pipelines._column($1, 'amount', 'numeric'),
		pipelines._column($1, 'currency', 'text'), pipelines._column($1, 'owner', 'text'),
		pipelines._deals_source($1, pipelines._role_columns($1)),
		pipelines._own_column(t.history, 'reason'), k.matches,
		pipelines._column($1, 'furthest_stage_id', NULL, true), pipelines._column($1, 'probability', 'numeric', true),
		pipelines._column($1, 'forecast_category', 'text', true),
		pipelines._ceased($1, 'closed_at'))
	FROM pipelines.tracked_table t
	CROSS JOIN (SELECT string_agg('v.' || quote_ident(m.column_name), ', ' ORDER BY m.n) AS names,
					   string_agg(format('h.%I AS %I', m.history_column, m.column_name), ', ' ORDER BY m.n) AS in_history,
					   string_agg('d.' || quote_ident(m.column_name), ', ' ORDER BY m.n) AS in_deals,
					   string_agg(format('h.%I = v.%I', m.history_column, m.column_name), ' AND ' ORDER BY m.n) AS matches,
					   array_agg(m.column_name) AS taken
				FROM pipelines._roles($1) m
				WHERE m.role ~ '^key[1-9]') k
	WHERE t.relation = $1
$$;
COMMENT ON FUNCTION pipelines._closings_view(regclass) IS 'The text of the view T_closings.';

-- Since when the clock runs that began when a deal was made.  What is made at the end
-- of time never stalls, and nothing must be added to it.
CREATE FUNCTION pipelines._age_began(created text)
RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 10
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('CASE WHEN %1$s < timestamptz ''290000-01-01 00:00+00'' THEN %1$s END', $1)
$$;
COMMENT ON FUNCTION pipelines._age_began(text) IS
	'Since when a limit by age runs, as SQL text.';

CREATE FUNCTION pipelines._limit_over(began timestamptz, stall_limit interval, zone text) RETURNS timestamptz
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 2
AS 'MODULE_PATHNAME', 'pipelines_limit_over';
COMMENT ON FUNCTION pipelines._limit_over(timestamptz, interval, text) IS
	'The instant at which a limit is over: its days and months by the calendar in a time zone, then its hours.  Raises 22023 for what is no time zone, 22008 for instants out of range.';

CREATE FUNCTION pipelines._local_days(since timestamptz, until timestamptz, zone text) RETURNS interval
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 2
AS 'MODULE_PATHNAME', 'pipelines_local_days';
COMMENT ON FUNCTION pipelines._local_days(timestamptz, timestamptz, text) IS
	'How many days later an instant is than another, by the calendar of a time zone, each of 24 hours.  Raises 22023 for what is no time zone, 22008 for instants without end.';

CREATE FUNCTION pipelines._days_between(since timestamptz, until timestamptz) RETURNS numeric
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 1
AS 'MODULE_PATHNAME', 'pipelines_days_between';
COMMENT ON FUNCTION pipelines._days_between(timestamptz, timestamptz) IS
	'Days of 24 hours from an instant to another, with two decimals; NULL where one of them has no end.';

-- When the limit of a stage (an alias) is over for what began at an instant, as
-- SQL text.  Days and months of a limit are those of the calendar in the zone,
-- its hours go by, whatever clocks show; of business time, first the business days, then the business hours count
-- (R-4.2).
CREATE FUNCTION pipelines._stalls_at(began text, stage text, zone text, calendar text)
RETURNS text
LANGUAGE sql IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('CASE %2$s.stall_time WHEN ''business'' THEN pipelines.add_business_time('
		'(pipelines.add_business_days(CAST(%1$s AT TIME ZONE %3$s AS date), CAST(extract(day FROM %2$s.stall_limit) AS integer), %4$s)'
		' + CAST(%1$s AT TIME ZONE %3$s AS time)) AT TIME ZONE %3$s,'
		' %2$s.stall_limit - make_interval(days => CAST(extract(day FROM %2$s.stall_limit) AS integer)), %4$s)'
		' ELSE pipelines._limit_over(%1$s, %2$s.stall_limit, %3$s) END', $1, $2, $3, $4)
$$;
COMMENT ON FUNCTION pipelines._stalls_at(text, text, text, text) IS
	'The instant at which a limit is over, as SQL text.';

CREATE FUNCTION pipelines._holds(stages text) RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 100
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('(SELECT array_agg(CAST(o.pipeline_id AS bigint) << 32 | o.stage_id) FROM %s o WHERE o.outcome = ''on_hold'')', $1)
$$;
COMMENT ON FUNCTION pipelines._holds(text) IS
	'Which of the stages of a table or query are on hold, each with its pipeline as one number, in an array (NULL: none): a query of one row, as SQL text.';

-- When a deal (d) stalls whose limit would be over at an instant if it had never
-- been on hold.  Such time can only be in what a clock shows that runs since the
-- deal was made; it comes on top of the limit, in the same unit (R-2.32).  As it
-- only puts the instant off, the history is not asked where that is too late
-- anyway, after latest.
-- holds: an array of what counts as on hold, as _holds() says it.  It comes from the
-- FROM clause: a subquery that gathered it for itself would not be given to reading
-- processes.
CREATE FUNCTION pipelines._stalls_after_hold(deals regclass, limit_over text, latest text, began text, instant text,
	stage text, calendar text, holds text)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format($sql$CASE WHEN %1$s.stall_basis = 'age' AND %2$s <= %3$s THEN coalesce((
			SELECT CASE %1$s.stall_time WHEN 'business' THEN pipelines.add_business_time(%2$s, sum(x.held), %7$s)
				ELSE %2$s + make_interval(secs => CAST(extract(epoch FROM sum(x.held)) AS double precision)) END
			FROM (SELECT CASE %1$s.stall_time WHEN 'business' THEN pipelines.business_time(greatest(h.%4$I, %5$s), h.%6$I, %7$s)
						 ELSE h.%6$I - greatest(h.%4$I, %5$s) END AS held
				  FROM %8$s h
				  WHERE %9$s AND h.%6$I > %5$s AND h.%6$I <= %10$s
					AND CAST(%11$s AS bigint) << 32 | %12$s = ANY (%13$s)
					AND NOT EXISTS (SELECT FROM %8$s l
									WHERE %14$s AND l.%15$I >= h.%15$I AND l.%16$I = 'delete' AND l.%6$I <= %10$s)) x), %2$s)
		ELSE %2$s END$sql$,
		$6, $2, $3, pipelines._own_column(t.history, 'valid_from'), $4, pipelines._own_column(t.history, 'valid_to'), $7,
		t.history, pipelines._key_match($1, 'h', 'd'), $5, pipelines._column($1, 'pipeline_id', NULL, true), pipelines._column($1, 'stage_id', NULL, true),
		$8,
		pipelines._key_match($1, 'l', 'd'), pipelines._own_column(t.history, 'version'), pipelines._own_column(t.history, 'change'))
	FROM pipelines.tracked_table t
	WHERE t.relation = $1
$$;
COMMENT ON FUNCTION pipelines._stalls_after_hold(regclass, text, text, text, text, text, text, text) IS
	'The instant at which a deal stalls, with the time that it was on hold where the clock runs since it was made, as SQL text.';

-- T_current of the open deals whose limit is reached.  The history is only read
-- for the rows that come out.
CREATE FUNCTION pipelines._stalled_view(deals regclass, existing regclass)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format($sql$
	SELECT %1$s%2$s
	CROSS JOIN LATERAL (
		SELECT CASE ps.stall_basis WHEN 'activity' THEN %6$s WHEN 'age' THEN %10$s ELSE %5$s END AS began,
			   coalesce(p.time_zone, current_setting('TimeZone')) AS zone
	) b
	CROSS JOIN %9$s o(holds)
	CROSS JOIN LATERAL (SELECT %7$s AS limit_over) l
	CROSS JOIN LATERAL (SELECT b.zone, %8$s AS stalled_at) w
	WHERE ps.outcome = 'open' AND ps.stall_limit IS NOT NULL AND w.stalled_at <= now()$sql$,
		pipelines._select_list(array_agg(c.name ORDER BY c.n), array_agg(c.expression ORDER BY c.n), $2),
		pipelines._deal_from($1),
		pipelines._column($1, 'changed_at'), pipelines._column($1, 'created_at', 'timestamptz'),
		pipelines._column($1, 'stage_entered_at'), pipelines._last_activity($1, 'now()'),
		pipelines._stalls_at('b.began', 'ps', 'b.zone', k.calendar),
		pipelines._stalls_after_hold($1, 'l.limit_over', 'now()', pipelines._column($1, 'created_at', 'timestamptz'), 'now()', 'ps', k.calendar,
			'o.holds'),
		pipelines._holds('pipelines.pipeline_stage'), pipelines._age_began(pipelines._column($1, 'created_at', 'timestamptz')))
	FROM (VALUES ('(SELECT k.name FROM pipelines.fiscal_calendar k WHERE k.calendar_id = p.calendar_id)')) k(calendar)
	CROSS JOIN (
		SELECT x.n, x.name, x.expression FROM pipelines._current_columns($1) x
		UNION ALL
		SELECT 20000 + x.n,
			   CASE WHEN EXISTS (SELECT FROM pg_attribute a
								 WHERE a.attrelid = $1 AND a.attname = x.name AND NOT a.attisdropped)
					THEN 'pipelines_' || x.name ELSE x.name END,
			   x.expression
		FROM (VALUES
			(1, 'stalled_at', 'w.stalled_at'),
			(2, 'days_over', 'round((extract(epoch FROM CASE WHEN isfinite(w.stalled_at) THEN now() - w.stalled_at END) / 86400)::numeric, 2)'),
			(3, 'reasons', pipelines._reasons($1, 'now()', NULL, true))
		) x(n, name, expression)
	) c
	GROUP BY k.calendar
$$;
COMMENT ON FUNCTION pipelines._stalled_view(regclass, regclass) IS 'The text of the view T_stalled.';

-- How activities (a) are found that are of a deal (d); NULL: there are none.  A
-- key may have become another type than theirs since.
CREATE FUNCTION pipelines._activity_match(deals regclass)
RETURNS text
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN (
		SELECT string_agg(format(CASE WHEN k.atttypid = c.atttypid OR (kt.typcategory = ct.typcategory AND ct.typcategory <> 'U')
									  THEN 'a.%I = d.%I' ELSE 'CAST(a.%I AS text) = CAST(d.%I AS text)' END,
								 coalesce(k.attname, ''), m.column_name), ' AND ' ORDER BY m.n)
		FROM pipelines.tracked_table t
		JOIN pipelines._roles($1) m ON m.role ~ '^key[1-9]'
		JOIN pg_attribute c ON c.attrelid = $1 AND c.attname = m.column_name AND c.attnum > 0
		JOIN pg_type ct ON ct.oid = c.atttypid
		LEFT JOIN pg_attribute k ON k.attrelid = t.activity AND k.attname = t.activity_columns ->> m.role
			AND k.attnum > 0 AND NOT k.attisdropped
		LEFT JOIN pg_type kt ON kt.oid = k.atttypid
		WHERE t.relation = $1
		HAVING count(*) = count(k.attname));
END
$$;
COMMENT ON FUNCTION pipelines._activity_match(regclass) IS
	'The condition under which an activity is of a deal, as SQL text.';

-- The last time that anything was done about a deal (d): a change of a tracked
-- column, or an activity; what was done by the instant counts.
CREATE FUNCTION pipelines._last_activity(deals regclass, instant text)
RETURNS text
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN (
		SELECT CASE WHEN a.attname IS NULL OR m.condition IS NULL THEN pipelines._column($1, 'changed_at')
			ELSE format('greatest(%s, (SELECT max(a.%I) FROM %s a WHERE %s AND a.%I <= %s))',
						pipelines._column($1, 'changed_at'), a.attname, t.activity, m.condition, a.attname, $2) END
		FROM pipelines.tracked_table t
		CROSS JOIN pipelines._activity_match($1) m(condition)
		LEFT JOIN pg_attribute a
			ON a.attrelid = t.activity AND a.attname = t.activity_columns ->> 'done_at' AND a.attnum > 0 AND NOT a.attisdropped
		WHERE t.relation = $1);
END
$$;
COMMENT ON FUNCTION pipelines._last_activity(regclass, text) IS
	'When something was last done about a deal, as SQL text.';

-- How often the expected closing of a deal (d) was put off, and by how many days
-- (R-2.30): one row for each time, of the present life of its key.  In the order of
-- the index, of which nothing has to be sorted.
CREATE FUNCTION pipelines._pushes(deals regclass)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format($sql$SELECT CASE WHEN isfinite(v.expected) AND isfinite(v.later) THEN v.later - v.expected END AS days
			 FROM (SELECT %2$s AS expected, lead(%2$s, 1, %7$s) OVER (ORDER BY h.%1$I) AS later
				   FROM %4$s h
				   WHERE %5$s AND h.%1$I < %6$s
					AND NOT EXISTS (SELECT FROM %4$s l WHERE %8$s AND l.%1$I >= h.%1$I AND l.%1$I < %6$s AND l.%3$I = 'delete')) v
			 WHERE v.later > v.expected$sql$,
		pipelines._own_column(t.history, 'version'), pipelines._column($1, 'expected_close_on', 'date', true),
		pipelines._own_column(t.history, 'change'), t.history,
		pipelines._key_match($1, 'h', 'd'),
		pipelines._column($1, 'version'), pipelines._column($1, 'expected_close_on', 'date'), pipelines._key_match($1, 'l', 'd'))
	FROM pipelines.tracked_table t
	WHERE t.relation = $1
$$;
COMMENT ON FUNCTION pipelines._pushes(regclass) IS
	'A query for the times at which the expected closing of a deal was put off, as SQL text.';

-- Why a stalled deal needs a look.  A row of deal_type names a column by its
-- part, else by its name, whenever it was added.  Of most deals the past has
-- nothing to tell, which one look at it shows.
-- past: an expression that says what the past tells, where there is a better one
-- than the SQL here; types: may a deal's type say that it is in the wrong
-- pipeline?
CREATE FUNCTION pipelines._reasons(deals regclass, instant text, past text, types boolean)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format($sql$array_remove(ARRAY[CASE WHEN w.stalled_at <= %1$s THEN 'over_limit' END,
			CASE WHEN %2$s < (%1$s AT TIME ZONE w.zone)::date THEN 'past_expected_close' END,
			CASE WHEN %3$s IS NULL THEN 'no_amount' END,
			CASE WHEN %4$s >= %1$s THEN NULL ELSE 'no_next_action' END%5$s], NULL)
		|| %6$s$sql$,
		$2, pipelines._column($1, 'expected_close_on', 'date'), pipelines._column($1, 'amount', 'numeric'),
		pipelines._column($1, 'next_action_at', 'timestamptz'),
		CASE WHEN $4 THEN format($sql$,
			CASE WHEN EXISTS (SELECT FROM pipelines.deal_type)
					AND (SELECT y.pipeline_id
					   FROM pipelines.deal_type y
					   WHERE y.layout_id = p.layout_id AND %s = y.value
					   ORDER BY y.position, y.column_name, y.value
					   LIMIT 1) <> %s THEN 'pipeline_mismatch' END$sql$,
			(SELECT format('CASE y.column_name %s ELSE to_jsonb(d.*) ->> y.column_name END',
						   string_agg(format('WHEN %L THEN CAST(d.%I AS text)', m.role, m.column_name), ' ' ORDER BY m.n))
			 FROM pipelines._roles($1) m
			 WHERE m.column_name IS NOT NULL),
			pipelines._column($1, 'pipeline_id')) ELSE '' END,
		coalesce($3, (
			SELECT format($sql$CASE WHEN EXISTS (SELECT FROM %1$s h WHERE %2$s AND h.%3$I < %4$s AND (%5$s IS DISTINCT FROM %6$s%7$s))
			THEN ARRAY(SELECT 'pushed_' || count(*) || '_times' FROM (%8$s) v HAVING count(*) > 0)%9$s || %10$s%11$s$sql$,
				t.history, pipelines._key_match($1, 'h', 'd'), pipelines._own_column(t.history, 'version'), pipelines._column($1, 'version'),
				pipelines._column($1, 'expected_close_on', 'date', true), pipelines._column($1, 'expected_close_on', 'date'),
				CASE WHEN x.secured THEN '' ELSE format(' OR h.%I IS NOT NULL', pipelines._own_column(t.history, 'skipped_stages')) END,
				pipelines._pushes($1),
				CASE WHEN x.secured THEN ' ELSE ''{}'' END' ELSE '' END, pipelines._skipped($1),
				CASE WHEN x.secured THEN '' ELSE ' ELSE ''{}'' END' END)
			FROM pipelines.tracked_table t
			CROSS JOIN (SELECT pipelines._secured($1)) x(secured)
			WHERE t.relation = $1)))
$$;
COMMENT ON FUNCTION pipelines._reasons(regclass, text, text, boolean) IS
	'The expression for the column reasons of T_stalled and stalled(), as of an instant, as SQL text.';

-- The stages that a deal (d) jumped over inside its pipeline, as reasons: each
-- counts until it was visited after all, in the same episode.
-- On a protected table readers don't see what each move jumped over: there it
-- is worked out from the furthest stages of one version and the next, by the
-- definitions of today.
CREATE FUNCTION pipelines._skipped(deals regclass)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format(CASE WHEN NOT pipelines._secured($1)
		THEN $sql$ARRAY(SELECT 'skipped_stage:' || ks.name
				 FROM (SELECT DISTINCT k.stage_id
					   FROM %1$s h, unnest(h.%2$I) k(stage_id)
					   WHERE %3$s AND %4$s = %5$s AND %6$s = %7$s AND h.%14$I = %7$s AND h.%12$I < %13$s) k
				 JOIN pipelines.stage ks ON ks.stage_id = k.stage_id
				 LEFT JOIN pipelines.pipeline_stage kp ON kp.pipeline_id = %7$s AND kp.stage_id = k.stage_id
				 WHERE k.stage_id <> %8$s
					AND NOT EXISTS (SELECT FROM %1$s h
									WHERE %3$s AND %4$s = %5$s AND %6$s = %7$s AND %9$s = k.stage_id AND h.%12$I < %13$s)
				 ORDER BY kp.position, ks.name)$sql$
		ELSE $sql$ARRAY(SELECT 'skipped_stage:' || ks.name
				 FROM pipelines.pipeline_stage kp
				 JOIN pipelines.stage ks ON ks.stage_id = kp.stage_id
				 WHERE kp.pipeline_id = %7$s AND kp.mandatory AND kp.outcome = 'open' AND kp.archived_at IS NULL
					AND kp.stage_id <> %8$s
					AND EXISTS (SELECT FROM %1$s h
								JOIN (SELECT h.%12$I AS version_, %11$s AS furthest_ FROM %1$s h
									  WHERE %3$s AND %4$s = %5$s AND %6$s = %7$s
									  UNION ALL
									  SELECT %13$s, %10$s) n ON n.version_ = h.%12$I + 1
								JOIN pipelines.pipeline_stage kf ON kf.pipeline_id = %7$s AND kf.stage_id = %11$s
								JOIN pipelines.pipeline_stage kn ON kn.pipeline_id = %7$s AND kn.stage_id = n.furthest_
								WHERE %3$s AND %4$s = %5$s AND %6$s = %7$s AND h.%12$I < %13$s
									AND (kf.position < kp.position OR kf.outcome NOT IN ('open', 'won', 'done')%15$s)
									AND kp.position < kn.position AND kn.outcome IN ('open', 'won', 'done'))
					AND NOT EXISTS (SELECT FROM %1$s h
									WHERE %3$s AND %4$s = %5$s AND %6$s = %7$s AND %9$s = kp.stage_id AND h.%12$I < %13$s)
				 ORDER BY kp.position, ks.name)$sql$ END,
		t.history, pipelines._own_column(t.history, 'skipped_stages'), k.matches,
		pipelines._column($1, 'episode', NULL, true), pipelines._column($1, 'episode'),
		pipelines._column($1, 'pipeline_id', NULL, true), pipelines._column($1, 'pipeline_id'),
		pipelines._column($1, 'stage_id'), pipelines._column($1, 'stage_id', NULL, true),
		pipelines._column($1, 'furthest_stage_id'), pipelines._column($1, 'furthest_stage_id', NULL, true),
		pipelines._own_column(t.history, 'version'), pipelines._column($1, 'version'),
		pipelines._own_column(t.history, 'to_pipeline_id'),
		-- what was adopted in a pause has an unknown past
		CASE WHEN t.adopted
			 THEN format(' AND NOT EXISTS (SELECT FROM %s h WHERE %s AND h.%I = 1 AND %s = %s AND h.%I = %s)',
						 t.history, k.matches, pipelines._own_column(t.history, 'version'),
						 pipelines._column($1, 'episode', NULL, true), pipelines._column($1, 'episode'),
						 pipelines._own_column(t.history, 'valid_from'), pipelines._adopted_at($1)) END)
	FROM pipelines.tracked_table t
	CROSS JOIN pipelines._key_match($1, 'h', 'd') k(matches)
	WHERE t.relation = $1
$$;
COMMENT ON FUNCTION pipelines._skipped(regclass) IS
	'An expression for the skipped stages of a deal, as SQL text.';

-- A report with its defaults.  What the view costs is what the report costs,
-- when it is read.
CREATE FUNCTION pipelines._report_view(deals regclass, report text)
RETURNS text
LANGUAGE sql IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('SELECT r.* FROM pipelines.%I(%L::pg_catalog.regclass) r', $2, $1)
$$;
COMMENT ON FUNCTION pipelines._report_view(regclass, text) IS 'The text of a view T_R for report R.';

-- existing: the view as it is now, or NULL
CREATE FUNCTION pipelines._view_text(deals regclass, kind text, existing regclass)
RETURNS text
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	text CONSTANT text := CASE $2
		WHEN 'current' THEN pipelines._current_view($1, $3)
		WHEN 'board' THEN pipelines._board_view($1)
		WHEN 'forecast' THEN pipelines._forecast_view($1)
		WHEN 'visits' THEN pipelines._visits_view($1)
		WHEN 'stalled' THEN pipelines._stalled_view($1, $3)
		WHEN 'closings' THEN pipelines._closings_view($1)
		WHEN 'review' THEN pipelines._report_view($1, $2)
		WHEN 'bridge' THEN pipelines._report_view($1, $2)
		WHEN 'changes' THEN pipelines._report_view($1, $2)
		WHEN 'scores' THEN pipelines._report_view($1, $2)
		WHEN 'forecast_accuracy' THEN pipelines._report_view($1, $2)
		WHEN 'quota' THEN pipelines._quota_view($1)
		WHEN 'behind' THEN pipelines._quota_view($1) ||
			' WHERE q.bucket = ''period'' AND q.starts <= CURRENT_DATE AND q.ends > CURRENT_DATE AND q.pace_gap < 0'
		ELSE pipelines._daily_view($1, $2, $3)
		END;
BEGIN
	IF current_setting('server_version_num')::integer >= 150000 THEN
		RETURN text;
	END IF;
	-- A view can't be security_invoker there: it shows what its owner may see.
	-- To whom row security of the deals concerns, it shows nothing, even if
	-- that was enabled after the view was made.  The condition names no column:
	-- so it is looked at once, before any row is seen by a function of the
	-- caller's, at the price of joins that could else be left out.
	RETURN format(E'SELECT * FROM (%s) AS v\nWHERE NOT pg_catalog.row_security_active(%L::pg_catalog.regclass)', text, $1);
END
$$;
COMMENT ON FUNCTION pipelines._view_text(regclass, text, regclass) IS
	'The text of one view of a deals table.';

-- The view of each kind that a deals table has (NULL: none): known by what it
-- stands on, and its name or its comment, so that it is found after a rename.
CREATE FUNCTION pipelines._find_views(deals regclass)
RETURNS TABLE (n integer, kind text, comment text, view regclass)
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000 ROWS 30
SET search_path = pg_catalog, pg_temp
AS $$
	-- once for each view, not for each column that it reads
	WITH standing AS MATERIALIZED (
		SELECT DISTINCT r.ev_class AS oid
		FROM pg_depend d
		JOIN pg_rewrite r ON r.oid = d.objid
		WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = $1 AND d.classid = 'pg_rewrite'::regclass
	), candidate AS MATERIALIZED (
		SELECT v.oid, v.relname AS name, obj_description(v.oid, 'pg_class') AS comment,
			   CASE WHEN v.relnamespace = t.relnamespace THEN t.relname || '_' END AS stem
		FROM standing s
		JOIN pg_class v ON v.oid = s.oid AND v.relkind = 'v'
		JOIN pg_class t ON t.oid = $1
	)
	SELECT DISTINCT ON (k.n) k.n, k.kind, k.comment, c.oid::regclass
	FROM pipelines._view_kinds() k
	LEFT JOIN candidate c ON c.name = c.stem || k.kind OR (c.comment = k.comment AND c.name ~ ('_' || k.kind || '$'))
	ORDER BY k.n, coalesce(c.name = c.stem || k.kind, false) DESC, c.oid
$$;
COMMENT ON FUNCTION pipelines._find_views(regclass) IS
	'The views that a deals table has, by kind.';

-- Was a view made when the table was protected, and is not, or the reverse?
-- Then it reads columns of the history that readers don't have, or does without
-- them in vain.
CREATE FUNCTION pipelines._view_outdated(deals regclass, kind text, existing regclass)
RETURNS boolean
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN pipelines._secured($1) THEN x.reads ELSE $2 IN ('visits', 'stalled', 'detail') AND NOT x.reads END
	FROM (SELECT EXISTS (
		SELECT FROM pipelines.tracked_table t
		JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
			AND d.refobjid = t.history
		JOIN pg_rewrite r ON r.oid = d.objid AND r.ev_class = $3
		JOIN pg_attribute a ON a.attrelid = t.history AND a.attnum = d.refobjsubid
		WHERE t.relation = $1 AND a.attname IN (SELECT n.name FROM pipelines._hidden_columns(t.history) n(name))) AS reads) x
$$;
COMMENT ON FUNCTION pipelines._view_outdated(regclass, text, regclass) IS
	'Must a view be made anew because protection began or ended?';

-- The function T_as_of(timestamptz) of a deals table, also after a rename.
CREATE FUNCTION pipelines._find_as_of(deals regclass)
RETURNS regprocedure
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT p.oid::regprocedure
	FROM pg_class t
	JOIN pg_depend d ON d.refclassid = 'pg_type'::regclass AND d.refobjid = t.reltype AND d.classid = 'pg_proc'::regclass
	JOIN pg_proc p ON p.oid = d.objid AND p.prorettype = t.reltype AND p.proretset
	WHERE t.oid = $1
		AND p.proargtypes = ARRAY['timestamptz'::regtype::oid]::oidvector
		AND p.proname ~ '_as_of$'
	ORDER BY (p.pronamespace = t.relnamespace AND p.proname = t.relname || '_as_of') DESC, p.oid
	LIMIT 1
$$;
COMMENT ON FUNCTION pipelines._find_as_of(regclass) IS
	'The function T_as_of() of a deals table, or NULL.';

-- Make the views that are missing or that protection has overtaken and, if
-- asked to, all anew; say what was done.  A view that must be dropped for it gets back the
-- privileges that it had; a view that is new is for those who may read the
-- deals.  An error if something else stands in the way or on the view.
-- What it calls asks the same of the catalogs for each view and column: that is
-- planned once, and not with other constants five times before.
CREATE FUNCTION pipelines._create_views(deals regclass, remake boolean)
RETURNS TABLE (item text, action text)
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000 ROWS 5
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
	relation pg_class;
	version CONSTANT integer := current_setting('server_version_num')::integer;
	options text := '';
	kind record;
	existing regclass;
	target text;
	definition text;
	before text;
	privileges aclitem[];
	views regclass[] := '{}';
	kinds text[] := '{}';
	as_of regprocedure;
BEGIN
	PERFORM pipelines._need_deals(deals);
	SELECT c.* INTO STRICT relation FROM pg_class c WHERE c.oid = _create_views.deals;
	IF version >= 150000 THEN
		options := ' WITH (security_invoker = true)';
	ELSIF relation.relrowsecurity THEN
		-- refused, but policies, tracked columns and as_of() can do without views
		item := 'views';
		action := 'refused: before PostgreSQL 15 a view shows every row that its owner may see';
		RETURN NEXT;
	END IF;

	FOR kind IN
		SELECT v.kind, v.view FROM pipelines._find_views(deals) v
		WHERE version >= 150000 OR NOT relation.relrowsecurity
		ORDER BY v.n
	LOOP
		target := format('%s.%I', relation.relnamespace::regnamespace, relation.relname || '_' || kind.kind);
		item := 'view ' || target;
		action := NULL;
		existing := kind.view;
		definition := pipelines._view_text(deals, kind.kind, existing);

		IF existing IS NOT NULL AND existing::text <> target AND remake THEN
			IF (SELECT c.relnamespace FROM pg_class c WHERE c.oid = existing) <> relation.relnamespace THEN
				EXECUTE format('ALTER VIEW %s SET SCHEMA %s', existing, relation.relnamespace::regnamespace);
			END IF;
			IF existing::text <> target THEN
				EXECUTE format('ALTER VIEW %s RENAME TO %I', existing, relation.relname || '_' || kind.kind);
			END IF;
			action := 'renamed';
		END IF;

		IF existing IS NULL THEN
			EXECUTE format('CREATE VIEW %s%s AS %s', target, options, definition);
			existing := target::regclass;
			PERFORM pipelines._give_to_owner(existing, deals);
			PERFORM pipelines._grant_like(existing, 'SELECT',
										  (SELECT array_agg(makeaclitem(x.grantee, relation.relowner, 'SELECT', x.is_grantable))
										   FROM aclexplode(relation.relacl) x
										   WHERE x.privilege_type = 'SELECT' AND x.grantee <> relation.relowner));
			action := 'created';
		ELSIF remake OR pipelines._view_outdated(deals, kind.kind, existing) THEN
			IF pipelines._give_to_owner(existing, deals) THEN
				action := coalesce(action || ', ', '') || 'given to the owner of the deals';
			END IF;
			before := pg_get_viewdef(existing);
			BEGIN
				EXECUTE format('CREATE OR REPLACE VIEW %s%s AS %s', target, options, definition);
			EXCEPTION WHEN invalid_table_definition THEN
				-- its columns are others now
				definition := pipelines._view_text(deals, kind.kind, NULL);
				SELECT c.relacl INTO privileges FROM pg_class c WHERE c.oid = existing;
				EXECUTE format('DROP VIEW %s', existing);
				EXECUTE format('CREATE VIEW %s%s AS %s', target, options, definition);
				existing := target::regclass;
				PERFORM pipelines._give_to_owner(existing, deals);
				PERFORM pipelines._grant_like(existing, NULL, privileges);
			END;
			IF before IS DISTINCT FROM pg_get_viewdef(existing) THEN
				action := coalesce(action || ', ', '') || 'remade';
			END IF;
		END IF;
		views := views || existing;
		kinds := kinds || kind.kind;
		IF action IS NOT NULL THEN
			RETURN NEXT;
		END IF;
	END LOOP;
	PERFORM pipelines._comment_views(deals, views, kinds);

	-- as_of() for this table, in a form that the planner can see through
	target := format('%s.%I', relation.relnamespace::regnamespace, relation.relname || '_as_of');
	item := format('function %s(timestamp with time zone)', target);
	as_of := pipelines._find_as_of(deals);
	definition := pipelines._as_of_body(deals);
	IF as_of <> to_regprocedure(target || '(timestamptz)') AND remake THEN
		EXECUTE format('DROP FUNCTION %s', as_of);
		as_of := NULL;
	END IF;
	IF as_of IS NULL
		OR (remake AND EXISTS (SELECT FROM pg_proc p WHERE p.oid = as_of
							   AND (p.prosrc <> definition OR p.proowner <> relation.relowner)))
	THEN
		action := CASE WHEN as_of IS NULL THEN 'created' ELSE 'remade' END;
		EXECUTE format('CREATE OR REPLACE FUNCTION %s("at" timestamptz) RETURNS SETOF %s LANGUAGE sql STABLE PARALLEL SAFE COST 1000 ROWS 100000 AS %L',
					   target, deals, definition);
		EXECUTE format('ALTER FUNCTION %s(timestamptz) OWNER TO %s', target, relation.relowner::regrole);
		IF as_of IS NULL THEN
			EXECUTE format('COMMENT ON FUNCTION %s(timestamptz) IS %L', target,
						   'The deals as they were at an instant, as pipelines.as_of() returns them.');
		END IF;
		RETURN NEXT;
	END IF;
END
$$;
COMMENT ON FUNCTION pipelines._create_views(regclass, boolean) IS
	'Makes the views of a deals table that are missing, or all of them anew.';

-- Grant what a list of privileges says (of one kind only, if one is named).
CREATE FUNCTION pipelines._grant_like(relation regclass, privilege text, privileges aclitem[])
RETURNS void
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	entry record;
BEGIN
	FOR entry IN
		SELECT x.grantee, x.privilege_type, x.is_grantable
		FROM pg_class c, aclexplode(_grant_like.privileges) x
		WHERE c.oid = _grant_like.relation AND x.grantee <> c.relowner
			AND (_grant_like.privilege IS NULL OR x.privilege_type = _grant_like.privilege)
	LOOP
		EXECUTE format('GRANT %s ON %s TO %s%s', entry.privilege_type, relation,
					   CASE WHEN entry.grantee = 0 THEN 'PUBLIC' ELSE entry.grantee::regrole::text END,
					   CASE WHEN entry.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END);
	END LOOP;
END
$$;
COMMENT ON FUNCTION pipelines._grant_like(regclass, text, aclitem[]) IS
	'Grants on a relation what a list of privileges says.';

-- Comments on views and their columns, where there are none.  Columns that are
-- those of the deals take over their comments.
CREATE FUNCTION pipelines._comment_views(deals regclass, views regclass[], kinds text[])
RETURNS void
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	command text;
BEGIN
	-- all in one query: the lists are long, and the views many
	FOR command IN
		WITH shown AS MATERIALIZED (
			SELECT v.view, v.kind, k.comment, f.family, r.typrelid AS row_type
			FROM unnest(views, kinds) v(view, kind)
			JOIN pipelines._view_kinds() k ON k.kind = v.kind
			-- a report whose rows are of a type of their own says there what they mean
			LEFT JOIN (
				SELECT p.proname, y.typrelid FROM pg_proc p JOIN pg_type y ON y.oid = p.prorettype AND y.typrelid <> 0
				WHERE p.pronamespace = 'pipelines'::regnamespace
			) r ON r.proname = v.kind
			-- whose columns mean the same
			LEFT JOIN (VALUES
				('current', '{current,stalled,detail}'::text[]),
				('daily', '{due,unanswered,dormant}'),
				('report', '{next_steps,candidates,time_in_stage,funnel,transitions,win_rate,cycle,velocity,load,flow,trend}')
			) f(family, kinds) ON v.kind = ANY (f.kinds)
		), explained AS MATERIALIZED (
			SELECT * FROM pipelines._view_columns() UNION ALL SELECT * FROM pipelines._daily_columns()
		)
		SELECT format('COMMENT ON VIEW %s IS %L', v.view, v.comment)
		FROM shown v
		WHERE obj_description(v.view, 'pg_class') IS NULL
		UNION ALL
		SELECT format('COMMENT ON COLUMN %s.%I IS %L', v.view, a.attname, c.comment)
		FROM shown v
		JOIN pg_attribute a ON a.attrelid = v.view AND a.attnum > 0
		CROSS JOIN LATERAL (SELECT regexp_replace(a.attname, '^pipelines_', '') AS name) n
		LEFT JOIN (
			SELECT a.attname AS name, col_description(a.attrelid, a.attnum) AS comment,
				   a.attname IN (SELECT m.column_name FROM pipelines._roles(_comment_views.deals) m WHERE m.role ~ '^key[1-9]') AS is_key
			FROM pg_attribute a
			WHERE a.attrelid = _comment_views.deals AND a.attnum > 0
		) t ON t.name = a.attname AND (t.is_key OR v.family = 'current')
		LEFT JOIN explained k ON k.kind = v.kind AND k.name = n.name
		LEFT JOIN explained f ON f.kind = v.family AND f.name = n.name
		LEFT JOIN pg_attribute r ON r.attrelid = v.row_type AND r.attname = a.attname
		CROSS JOIN LATERAL (SELECT coalesce(t.comment, k.comment, f.comment, col_description(r.attrelid, r.attnum)) AS comment) c
		WHERE c.comment IS NOT NULL
			AND NOT EXISTS (SELECT FROM pg_description d
							WHERE d.classoid = 'pg_class'::regclass AND d.objoid = a.attrelid AND d.objsubid = a.attnum)
	LOOP
		EXECUTE command;
	END LOOP;
END
$$;
COMMENT ON FUNCTION pipelines._comment_views(regclass, regclass[], text[]) IS
	'Comments on the views of a deals table and their columns.';
