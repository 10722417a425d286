-------------------------------------------------------------------------------
-- daily_views.sql
--   Views of a few lines, for what people ask every day, and the two lists that
--   need the rules of the stages: what is missing for the next step, and which
--   deals are ready for a stage.
--
-- Made with the other views of a deals table (deals/views.sql asks
-- _daily_view() for their text); each reads the deals as _deal_from() has them.
-------------------------------------------------------------------------------

-- Comments of the columns of these views, and of the views of reports (kind
-- report).
CREATE FUNCTION pipelines._daily_columns()
RETURNS TABLE (kind text, name text, comment text)
LANGUAGE sql IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10 ROWS 100
SET search_path = pg_catalog, pg_temp
AS $$
	VALUES
	('accounts', 'account', 'The account, as the deals name it.'),
	('accounts', 'currency', 'Currency of the amounts; NULL: the table has no default currency, and none was given.'),
	('accounts', 'deals', 'How many deals the account has.'),
	('accounts', 'open_deals', 'How many of them are open or on hold.'),
	('accounts', 'won_deals', 'How many of them are won.'),
	('accounts', 'lost_deals', 'How many of them are lost.'),
	('accounts', 'open_amount', 'Sum of the amounts that are open or on hold.'),
	('accounts', 'weighted', 'Sum of the open amounts times their probabilities, exact; omitted deals add nothing.'),
	('accounts', 'won_amount', 'Sum of the amounts that were won.'),
	('accounts', 'next_close_on', 'First day on which an open deal is expected to be closed.'),
	('accounts', 'last_change_at', 'When one of its deals was last changed.'),
	('accounts', 'owners', 'Owners of its open deals.'),
	('accounts', 'parent_account', 'The account above it, as its deals last named it in a column parent_account; NULL: none, or no such column.'),
	('accounts', 'customer_open_deals', 'Open deals of the parent account and of all accounts below it; of the account and those below it where it has no parent.'),
	('accounts', 'customer_open_amount', 'Their open amounts.'),
	('accounts', 'customer_weighted', 'Their open amounts times their probabilities.'),
	('accounts', 'customer_won_amount', 'What was won of them all.'),
	('unanswered', 'last_out_at', 'When we last went to the customer.'),
	('unanswered', 'last_in_at', 'When the customer last came to us, or NULL.'),
	('unanswered', 'days_waiting', 'Days of 24 hours since we last went to the customer.'),
	('dormant', 'last_activity_at', 'When a tracked column was last changed or an activity done.'),
	('dormant', 'days_idle', 'Days of 24 hours since then.'),
	('due', 'what', 'next_action, activity or expected_close.'),
	('due', 'kind', 'Kind of the activity.'),
	('due', 'subject', 'Subject of the activity.'),
	('due', 'due_at', 'When it is due: for an expected closing, when that day ends in the time zone of the pipeline.'),
	('due', 'overdue', 'Has that passed?'),
	('due', 'responsible', 'Who is to do it: the owner of the activity, else of the deal.'),
	('daily', 'pipeline_id', 'Pipeline.'),
	('daily', 'pipeline_name', 'Name of the pipeline.'),
	('daily', 'stage_id', 'Stage.'),
	('daily', 'stage_name', 'Name of the stage.'),
	('daily', 'outcome', 'Outcome of the stage: open, on_hold, won, lost, disqualified, done.'),
	('daily', 'owner', 'Owner of the deal.'),
	('daily', 'amount', 'Amount of the deal.'),
	('daily', 'currency', 'Currency of the amount; NULL: the table has no default currency, and none was given.'),
	('detail', 'visits', 'The stays in stages, the first one first: pipeline, stage, entered_at, exited_at.'),
	('detail', 'activities', 'The activities, the newest first: kind, subject, direction, due_at, done_at, owner.'),
	('detail', 'changes', 'How many changes of tracked columns there were.'),
	('detail', 'push_count', 'How often its expected closing was put off.'),
	('detail', 'pushed_days', 'By how many days altogether; bringing it forward subtracts nothing.'),
	('report', 'deal', 'Text form of the key of the deal.'),
	('report', 'pipeline_id', 'Pipeline.'),
	('report', 'pipeline_name', 'Name of the pipeline.'),
	('report', 'stage_id', 'Stage.'),
	('report', 'stage_name', 'Name of the stage.'),
	('report', 'position', 'Position of the stage in its pipeline.'),
	('report', 'outcome', 'Outcome of the stage: open, on_hold, won, lost, disqualified, done.'),
	('report', 'value', 'Value of the column that the report is split by; NULL in a view that is not.'),
	('report', 'currency', 'Currency of the amounts; NULL: the table has no default currency, and none was given.'),
	('report', 'kind', 'Kind of the move.'),
	('report', 'n', 'How many: deals, stays or moves, as the report counts.'),
	('report', 'running', 'How many stays have not ended.'),
	('report', 'deleted', 'How many stays were ended by a deletion.'),
	('report', 'transient', 'How many stays no one ever saw; they are not measured.'),
	('report', 'total', 'Sum of the times.'),
	('report', 'mean', 'Mean of the times.'),
	('report', 'shortest', 'Shortest time.'),
	('report', 'longest', 'Longest time.'),
	('report', 'median', 'Median of the times.'),
	('report', 'p75', '75 % of the times are at most this.'),
	('report', 'p90', '90 % of the times are at most this.'),
	('report', 'survival_median', 'Median by Kaplan and Meier; NULL where it was not asked for.'),
	('report', 'unknown', 'How many could not be measured.'),
	('report', 'won', 'How many deals are won.'),
	('report', 'lost', 'How many deals are lost.'),
	('report', 'disqualified', 'How many deals are disqualified.'),
	('report', 'done', 'How many deals are done, neither won nor lost.'),
	('report', 'still_open', 'How many deals are open or on hold.'),
	('report', 'other', 'How many deals are disqualified or done.'),
	('report', 'exits', 'How many moves out of the stage.'),
	('report', 'next_n', 'How many in the next stage; in mode direct, how many moves to it.'),
	('report', 'next_rate', 'next_n by n, or by exits in mode direct.'),
	('report', 'cumulative_rate', 'n by n of the first stage.'),
	('report', 'win_rate', 'Won ones by n; in velocity won ones by won and lost ones.'),
	('report', 'rate', 'n by exits.'),
	('report', 'to_pipeline_id', 'Pipeline that the deals went to.'),
	('report', 'to_pipeline_name', 'Its name.'),
	('report', 'to_stage_id', 'Stage that the deals went to.'),
	('report', 'to_stage_name', 'Its name.'),
	('report', 'to_position', 'Its position.'),
	('report', 'to_outcome', 'Its outcome.'),
	('report', 'created', 'How many deals were created.'),
	('report', 'created_won', 'How many of those are won.'),
	('report', 'overdue', 'How many open deals should have been closed before today.'),
	('report', 'old', 'How many other open deals are older than 90 % of the won ones were when they were won.'),
	('report', 'unpriced', 'How many have no amount.'),
	('report', 'won_amount', 'Sum of the amounts that were won.'),
	('report', 'lost_amount', 'Sum of the amounts that were lost.'),
	('report', 'count_rate', 'Won deals by won and lost ones.'),
	('report', 'value_rate', 'Won amount by won and lost amount.'),
	('report', 'cohort_rate', 'Won deals by created ones.'),
	('report', 'penalised_rate', 'Won deals by won, lost, overdue and old ones.'),
	('report', 'mean_value', 'Mean amount of the deals won in the last twelve months.'),
	('report', 'cycle_days', 'Mean days from creation to closing of the deals won in the last twelve months.'),
	('report', 'velocity', 'n times mean_value times win_rate by cycle_days: money per day.'),
	('report', 'on_hold', 'How many of the deals are on hold.'),
	('report', 'amount', 'Sum of the amounts.'),
	('report', 'weighted', 'Sum of the amounts times their probabilities, exact; omitted deals add nothing.'),
	('report', 'largest', 'Largest amount.'),
	('report', 'without_next_action', 'How many deals have no next action, or missed it.'),
	('report', 'mean_age_days', 'Mean days of 24 hours since creation.'),
	('report', 'week_end', 'Sunday; what counts is the instant at which it ends in the time zone of the pipeline.'),
	('report', 'owner', 'Owner of the deal.'),
	('report', 'step', 'What is missing: column (to be filled in), condition (to be fulfilled), activity (to be done); unchecked: a condition that this table can''t be asked.'),
	('report', 'what', 'The column, the condition, or the kind of activity.'),
	('report', 'next_stage_name', 'Name of the stage that comes next.'),
	('report', 'candidate_stage_id', 'Stage that the deal is ready for.'),
	('report', 'candidate_stage_name', 'Its name.'),
	('report', 'candidate_position', 'Its position.')
$$;
COMMENT ON FUNCTION pipelines._daily_columns() IS
	'What the columns of the daily views and of the views of reports mean.';

-- The deals with key, pipeline, stage, owner, amount: how most of these views
-- begin.
CREATE FUNCTION pipelines._daily_list(deals regclass)
RETURNS text
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN (
		SELECT format('%s, p.pipeline_id AS %s, p.name AS %s, s.stage_id AS %s, s.name AS %s, ps.outcome AS %s, %s AS %s, %s AS %s, coalesce(%s, %L::text) AS %s',
					  k.list, pipelines._free_name(k.taken, 'pipeline_id'), pipelines._free_name(k.taken, 'pipeline_name'),
					  pipelines._free_name(k.taken, 'stage_id'), pipelines._free_name(k.taken, 'stage_name'), pipelines._free_name(k.taken, 'outcome'),
					  pipelines._column($1, 'owner', 'text'), pipelines._free_name(k.taken, 'owner'),
					  pipelines._column($1, 'amount', 'numeric'), pipelines._free_name(k.taken, 'amount'),
					  pipelines._column($1, 'currency', 'text'), t.currency, pipelines._free_name(k.taken, 'currency'))
		FROM pipelines.tracked_table t
		CROSS JOIN (SELECT string_agg(format('d.%I', m.column_name), ', ' ORDER BY m.n) AS list, array_agg(m.column_name) AS taken
					FROM pipelines._roles($1) m WHERE m.role ~ '^key[1-9]') k
		WHERE t.relation = $1);
END
$$;
COMMENT ON FUNCTION pipelines._daily_list(regclass) IS
	'The columns with which the daily views begin, as SQL text.';

-- A column that is only shown: the one that adopt() was told, or the one of that name.
CREATE FUNCTION pipelines._shown_column(deals regclass, part text)
RETURNS name
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT a.attname
	FROM pipelines.tracked_table t
	JOIN pg_attribute a ON a.attrelid = t.relation AND a.attname = coalesce(t.application -> 'named' ->> $2, $2) AND a.attnum > 0 AND NOT a.attisdropped
	WHERE t.relation = $1
$$;
COMMENT ON FUNCTION pipelines._shown_column(regclass, text) IS
	'The column of a deals table that is its name, account or parent_account; NULL: there is none.';

CREATE FUNCTION pipelines._shown(deals regclass, part text)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN c IS NULL THEN 'CAST(NULL AS text)' ELSE format('CAST(d.%I AS text)', c) END
	FROM pipelines._shown_column($1, $2) c
$$;
COMMENT ON FUNCTION pipelines._shown(regclass, text) IS
	'That column of the deals (d) as text, as SQL text; NULL where there is none.';

-- A column of the table of activities (a), or NULL; and how it is joined.
CREATE FUNCTION pipelines._activity_column(deals regclass, part text, type text)
RETURNS text
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN coalesce((SELECT format('CAST(a.%I AS %s)', c.attname, $3)
					 FROM pipelines.tracked_table t
					 JOIN pg_attribute c ON c.attrelid = t.activity AND c.attname = t.activity_columns ->> $2 AND c.attnum > 0 AND NOT c.attisdropped
					 WHERE t.relation = $1),
					format('CAST(NULL AS %s)', $3));
END
$$;
COMMENT ON FUNCTION pipelines._activity_column(regclass, text, text) IS
	'A column of the activities by its part, as SQL text.';

CREATE FUNCTION pipelines._activity_source(deals regclass)
RETURNS text
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	-- no table of activities: nothing was ever done
	RETURN (
		SELECT coalesce(format('%s a WHERE ', t.activity) || pipelines._activity_match($1), '(SELECT WHERE false) a WHERE true')
		FROM pipelines.tracked_table t
		WHERE t.relation = $1);
END
$$;
COMMENT ON FUNCTION pipelines._activity_source(regclass) IS
	'What stands after FROM for the activities of a deal (d), with a WHERE clause, as SQL text.';

CREATE FUNCTION pipelines._daily_view(deals regclass, kind text, existing regclass)
RETURNS text
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	its record;
BEGIN
	IF kind IN ('funnel', 'transitions', 'win_rate', 'cycle', 'velocity', 'load', 'flow', 'trend', 'time_in_stage', 'next_steps', 'candidates') THEN
		RETURN format('SELECT * FROM pipelines.%I(%L::pg_catalog.regclass)', $2, $1);
	END IF;
	SELECT t.history, t.currency, k.taken, w.has_parents,
		   -- a version (h) of the life that the key has now
		   format('NOT EXISTS (SELECT FROM %1$s l WHERE %2$s AND l.%3$I >= h.%3$I AND l.%4$I = ''delete'')', t.history, pipelines._key_match($1, 'l', 'd'),
				  pipelines._own_column(t.history, 'version'), pipelines._own_column(t.history, 'change')) AS present
	INTO its
	FROM pipelines.tracked_table t
	CROSS JOIN (SELECT array_agg(m.column_name) AS taken FROM pipelines._roles($1) m WHERE m.role ~ '^key[1-9]') k
	CROSS JOIN (SELECT pipelines._shown_column($1, 'parent_account') IS NOT NULL AS has_parents) w
	WHERE t.relation = $1;
	IF kind = 'accounts' THEN
		RETURN format(CASE WHEN its.has_parents THEN $sql$
			WITH RECURSIVE account AS MATERIALIZED (%1$s
			), parent AS MATERIALIZED (
				SELECT DISTINCT ON (a.account) ARRAY[a.account] AS key, a.parent_account
				FROM account a
				WHERE a.account IS NOT NULL AND a.parent_account IS NOT NULL
				ORDER BY a.account, a.last_change_at DESC, a.parent_account
			), above AS (
				SELECT DISTINCT ARRAY[a.account] AS key, ARRAY[a.account] AS above, ARRAY[a.account] AS path FROM account a
				UNION ALL
				SELECT u.key, ARRAY[p.parent_account], u.path || p.parent_account
				FROM above u
				JOIN parent p ON p.key = u.above
				WHERE (p.parent_account = ANY (u.path)) IS NOT TRUE
			), customer AS (
				SELECT u.above, ARRAY[a.currency] AS money, %2$s
				FROM above u
				JOIN account a ON ARRAY[a.account] = u.key
				GROUP BY 1, 2
			)
			SELECT a.*, %3$s
			FROM account a
			LEFT JOIN parent p ON p.key = ARRAY[a.account]
			LEFT JOIN customer c ON c.above = ARRAY[coalesce(p.parent_account, a.account)] AND c.money = ARRAY[a.currency]$sql$
			-- without parents a customer is one account, which a condition then finds by an index
			ELSE 'SELECT a.*, %4$s FROM (%1$s) a' END,
			format($sql$
				SELECT %1$s AS account, coalesce(%2$s, %3$L::text) AS currency,
				count(*) AS deals,
				count(*) FILTER (WHERE ps.outcome IN ('open', 'on_hold')) AS open_deals,
				count(*) FILTER (WHERE ps.outcome = 'won') AS won_deals,
				count(*) FILTER (WHERE ps.outcome = 'lost') AS lost_deals,
				coalesce(sum(%4$s) FILTER (WHERE ps.outcome IN ('open', 'on_hold')), 0) AS open_amount,
				coalesce(sum(%4$s * e.probability * 0.01) FILTER (WHERE ps.outcome IN ('open', 'on_hold') AND e.category <> 'omitted'), 0) AS weighted,
				coalesce(sum(%4$s) FILTER (WHERE ps.outcome = 'won'), 0) AS won_amount,
				min(%5$s) FILTER (WHERE ps.outcome IN ('open', 'on_hold')) AS next_close_on,
				max(%6$s) AS last_change_at,
				array_agg(DISTINCT %7$s) FILTER (WHERE ps.outcome IN ('open', 'on_hold') AND %7$s IS NOT NULL) AS owners,
				%9$s AS parent_account%8$s
				GROUP BY 1, 2$sql$,
			pipelines._shown($1, 'account'),
			pipelines._column($1, 'currency', 'text'), its.currency, pipelines._column($1, 'amount', 'numeric'),
			pipelines._column($1, 'expected_close_on', 'date'), pipelines._column($1, 'changed_at'), pipelines._column($1, 'owner', 'text'),
			pipelines._deal_from($1),
			CASE WHEN its.has_parents THEN format('(array_agg(%1$s ORDER BY %2$s DESC, %1$s) FILTER (WHERE %1$s IS NOT NULL))[1]', pipelines._shown($1, 'parent_account'), pipelines._column($1, 'changed_at'))
				 ELSE 'CAST(NULL AS text)' END),
			'CAST(sum(a.open_deals) AS bigint) AS open_deals, sum(a.open_amount) AS open_amount, sum(a.weighted) AS weighted, sum(a.won_amount) AS won_amount',
			'c.open_deals AS customer_open_deals, c.open_amount AS customer_open_amount, c.weighted AS customer_weighted, c.won_amount AS customer_won_amount',
			'a.open_deals AS customer_open_deals, a.open_amount AS customer_open_amount, a.weighted AS customer_weighted, a.won_amount AS customer_won_amount');
	ELSIF kind = 'unanswered' THEN
		RETURN format($sql$
			SELECT %1$s, x.last_out AS %6$s, x.last_in AS %7$s,
				round((extract(epoch FROM now() - x.last_out) / 86400)::numeric, 2) AS %8$s%2$s
			CROSS JOIN LATERAL (SELECT max(%3$s) FILTER (WHERE %4$s = 'out') AS last_out, max(%3$s) FILTER (WHERE %4$s = 'in') AS last_in
								FROM %5$s AND %3$s <= now()) x
			WHERE ps.outcome IN ('open', 'on_hold') AND x.last_out > coalesce(x.last_in, '-infinity')$sql$,
			pipelines._daily_list($1), pipelines._deal_from($1), pipelines._activity_column($1, 'done_at', 'timestamptz'),
			pipelines._activity_column($1, 'direction', 'text'), pipelines._activity_source($1),
			pipelines._free_name(its.taken, 'last_out_at'), pipelines._free_name(its.taken, 'last_in_at'), pipelines._free_name(its.taken, 'days_waiting'));
	ELSIF kind = 'dormant' THEN
		RETURN format($sql$
			SELECT %1$s, x.last_at AS %5$s, round((extract(epoch FROM now() - x.last_at) / 86400)::numeric, 2) AS %6$s%2$s
			CROSS JOIN LATERAL (SELECT %3$s AS last_at) x
			WHERE ps.outcome IN ('open', 'on_hold') AND x.last_at < now() - interval '90 days' AND (%4$s >= now()) IS NOT TRUE
				AND NOT EXISTS (SELECT FROM %7$s AND %8$s >= now() AND %9$s IS NULL)$sql$,
			pipelines._daily_list($1), pipelines._deal_from($1), pipelines._last_activity($1, 'now()'),
			pipelines._column($1, 'next_action_at', 'timestamptz'), pipelines._free_name(its.taken, 'last_activity_at'), pipelines._free_name(its.taken, 'days_idle'),
			pipelines._activity_source($1), pipelines._activity_column($1, 'due_at', 'timestamptz'), pipelines._activity_column($1, 'done_at', 'timestamptz'));
	ELSIF kind = 'due' THEN
		RETURN format($sql$
			SELECT %1$s, x.what AS %12$s, x.kind AS %13$s, x.subject AS %14$s, x.due_at AS %15$s, x.due_at < now() AS %16$s, coalesce(x.owner, %2$s) AS %17$s%3$s
			CROSS JOIN LATERAL (
				SELECT 'next_action'::text AS what, NULL::text AS kind, NULL::text AS subject, %4$s AS due_at, NULL::text AS owner
				WHERE %4$s IS NOT NULL
				UNION ALL
				SELECT 'expected_close'::text, NULL::text, NULL::text, CASE WHEN %5$s > date '294276-12-30' THEN timestamp 'infinity' ELSE (%5$s + 1)::timestamp END AT TIME ZONE coalesce(p.time_zone, current_setting('TimeZone')), NULL::text
				WHERE %5$s IS NOT NULL
				UNION ALL
				SELECT 'activity'::text, %6$s, %7$s, %8$s, %9$s FROM %10$s AND %8$s IS NOT NULL AND %11$s IS NULL
			) x
			WHERE ps.outcome IN ('open', 'on_hold')$sql$,
			pipelines._daily_list($1), pipelines._column($1, 'owner', 'text'), pipelines._deal_from($1),
			pipelines._column($1, 'next_action_at', 'timestamptz'), pipelines._column($1, 'expected_close_on', 'date'),
			pipelines._activity_column($1, 'kind', 'text'), pipelines._activity_column($1, 'subject', 'text'),
			pipelines._activity_column($1, 'due_at', 'timestamptz'), pipelines._activity_column($1, 'owner', 'text'),
			pipelines._activity_source($1), pipelines._activity_column($1, 'done_at', 'timestamptz'),
			pipelines._free_name(its.taken, 'what'), pipelines._free_name(its.taken, 'kind'), pipelines._free_name(its.taken, 'subject'),
			pipelines._free_name(its.taken, 'due_at'), pipelines._free_name(its.taken, 'overdue'), pipelines._free_name(its.taken, 'responsible'));
	ELSIF kind = 'detail' THEN
		RETURN (
			SELECT format('SELECT %s%s', pipelines._select_list(array_agg(c.name ORDER BY c.n), array_agg(c.expression ORDER BY c.n), $3), pipelines._deal_from($1))
			FROM (
				SELECT x.n, x.name, x.expression FROM pipelines._current_columns($1) x
				UNION ALL
				SELECT 20000 + x.n,
					   CASE WHEN EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = $1 AND a.attname = x.name AND NOT a.attisdropped)
							THEN 'pipelines_' || x.name ELSE x.name END,
					   x.expression
				FROM (VALUES
					(1, 'changes', format('(SELECT count(*) FROM %s h WHERE %s AND %s)', its.history, pipelines._key_match($1, 'h', 'd'), its.present)),
					(2, 'push_count', format('(SELECT count(*) FROM (%s) v)', pipelines._pushes($1))),
					(3, 'pushed_days', format('(SELECT coalesce(sum(v.days), 0) FROM (%s) v)', pipelines._pushes($1))),
					(4, 'visits', format($sql$(SELECT jsonb_agg(jsonb_build_object('pipeline', vp.name, 'stage', vs.name, 'entered_at', v.entered, 'exited_at', v.exited) ORDER BY v.version)
						FROM (SELECT h.%1$I AS version, %2$s AS pipeline, %3$s AS stage, %4$s AS entered, h.%5$I AS exited
							  FROM %6$s h WHERE %7$s AND %13$s AND (%8$s)
							  UNION ALL
							  SELECT %9$s, %10$s, %11$s, %12$s, NULL) v
						LEFT JOIN pipelines.pipeline vp ON vp.pipeline_id = v.pipeline
						LEFT JOIN pipelines.stage vs ON vs.stage_id = v.stage)$sql$,
						pipelines._own_column(its.history, 'version'), pipelines._column($1, 'pipeline_id', NULL, true), pipelines._column($1, 'stage_id', NULL, true),
						pipelines._column($1, 'stage_entered_at', NULL, true), pipelines._own_column(its.history, 'valid_to'), its.history,
						pipelines._key_match($1, 'h', 'd'), replace(pipelines._visit_ends($1), ' d) n', ' d_) n'),
						pipelines._column($1, 'version'), pipelines._column($1, 'pipeline_id'), pipelines._column($1, 'stage_id'), pipelines._column($1, 'stage_entered_at'),
						its.present)),
					(5, 'activities', format($sql$(SELECT jsonb_agg(jsonb_build_object('kind', %1$s, 'subject', %2$s, 'direction', %3$s, 'due_at', %4$s, 'done_at', %5$s, 'owner', %6$s)
							ORDER BY coalesce(%5$s, %4$s) DESC NULLS FIRST) FROM %7$s)$sql$,
						pipelines._activity_column($1, 'kind', 'text'), pipelines._activity_column($1, 'subject', 'text'), pipelines._activity_column($1, 'direction', 'text'),
						pipelines._activity_column($1, 'due_at', 'timestamptz'), pipelines._activity_column($1, 'done_at', 'timestamptz'),
						pipelines._activity_column($1, 'owner', 'text'), pipelines._activity_source($1)))
				) x(n, name, expression)
			) c);
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION pipelines._daily_view(regclass, text, regclass) IS
	'The text of one of the daily views, or of the view of a report.';

-- The parts of a rule of a stage: columns to be filled in, or one condition; each
-- with the SQL text that says of a deal (d) whether it is fulfilled, NULL where
-- the table can't be asked.
CREATE FUNCTION pipelines._rule_parts(deals regclass, rule text)
RETURNS TABLE (step text, what text, fulfilled text)
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000 ROWS 3
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	part text;
	is_list boolean := rule ~ '^\s*("[^"]+"|[[:alpha:]_][[:alnum:]_$]*)(\s*,\s*("[^"]+"|[[:alpha:]_][[:alnum:]_$]*))*\s*$';
	found_name name;
BEGIN
	-- one name may be a column of type boolean, which is a condition
	IF is_list AND rule !~ ',' AND EXISTS (
		SELECT FROM pg_attribute a WHERE a.attrelid = _rule_parts.deals AND a.attname = btrim(btrim(rule), '"') AND a.atttypid = 'bool'::regtype)
	THEN
		is_list := false;
	END IF;
	IF is_list THEN
		FOREACH part IN ARRAY regexp_split_to_array(btrim(rule), '\s*,\s*') LOOP
			part := CASE WHEN part ~ '^"' THEN btrim(part, '"') ELSE lower(part) END;
			SELECT coalesce((SELECT a.attname FROM pg_attribute a
							 WHERE a.attrelid = _rule_parts.deals AND a.attname = part AND a.attnum > 0 AND NOT a.attisdropped),
							(SELECT m.column_name FROM pipelines._roles(_rule_parts.deals) m WHERE m.role = part))
			INTO found_name;
			step := CASE WHEN found_name IS NULL THEN 'unchecked' ELSE 'column' END;
			what := part;
			fulfilled := CASE WHEN found_name IS NOT NULL THEN format('coalesce(btrim(CAST(d.%I AS text)), '''') <> ''''', found_name) END;
			RETURN NEXT;
		END LOOP;
		RETURN;
	END IF;
	what := rule;
	step := 'condition';
	BEGIN
		IF pipelines._is_condition(deals, rule, 'the rule') THEN
			fulfilled := format(E'coalesce((SELECT (%s\n) FROM (SELECT d.*) AS deal), false)', rule);
		ELSE
			step := 'unchecked';
		END IF;
	EXCEPTION WHEN undefined_column OR feature_not_supported OR syntax_error OR datatype_mismatch OR undefined_function THEN
		-- it speaks of our names for the columns, or the columns are others now
		step := 'unchecked';
	END;
	RETURN NEXT;
END
$$;
COMMENT ON FUNCTION pipelines._rule_parts(regclass, text) IS
	'The parts of an entry or exit rule, with the SQL text that checks each.';

CREATE FUNCTION pipelines.next_steps(deals regclass, of_deal text DEFAULT NULL, as_of timestamptz DEFAULT now())
RETURNS TABLE (deal text, pipeline_id integer, pipeline_name text, stage_id integer, stage_name text, next_stage_name text,
	owner text, step text, what text)
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000 ROWS 1000
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	past CONSTANT boolean := pipelines._is_past(as_of);
	s record;
	parts text;
	keys text[];
	demands text;
BEGIN
	PERFORM pipelines._need_deals(deals);
	PERFORM FROM pipelines._roles(deals);
	PERFORM pipelines._as_of_covered(deals, as_of);
	IF of_deal IS NOT NULL THEN
		keys := pipelines._key_of(deals, of_deal);
	END IF;
	FOR s IN
		SELECT x.*, n.stage_name AS next_name, n.entry_rule AS next_rule,
			   (SELECT array_agg(a.kind)
				FROM pipelines.definitions_as_of(NULL::pipelines.stage_activity, CASE WHEN past THEN as_of ELSE 'infinity' END) a
				WHERE a.pipeline_id = x.pipeline_id AND a.stage_id = x.stage_id) AS activities
		FROM pipelines._stages_at(as_of) x
		LEFT JOIN LATERAL (
			SELECT y.stage_name, y.entry_rule
			FROM pipelines._stages_at(as_of) y
			WHERE y.pipeline_id = x.pipeline_id AND y.position > x.position AND y.outcome IN ('open', 'won', 'done') AND NOT y.archived AND NOT y.pipeline_archived
			ORDER BY NOT (y.mandatory AND y.outcome = 'open'), y.position
			LIMIT 1) n ON true
		WHERE x.outcome = 'open' AND (x.layout_id = (SELECT t.layout_id FROM pipelines.tracked_table t WHERE t.relation = deals)) IS NOT FALSE
		ORDER BY x.pipeline_id, x.position, x.stage_id
	LOOP
		SELECT string_agg(format('SELECT %L, %L%s', r.step, r.what, ' WHERE NOT ' || r.fulfilled), ' UNION ALL ' ORDER BY r.n) INTO parts
		FROM (SELECT r.*, 1 AS n FROM pipelines._rule_parts(deals, s.exit_rule) r WHERE s.exit_rule IS NOT NULL
			  UNION ALL
			  SELECT r.*, 2 FROM pipelines._rule_parts(deals, s.next_rule) r WHERE s.next_rule IS NOT NULL) r;
		IF s.activities IS NOT NULL THEN
			demands := format($sql$
				SELECT 'activity', b.kind FROM unnest(%1$L::text[]) b(kind)
				WHERE NOT EXISTS (SELECT FROM %2$s AND %3$s = b.kind AND %4$s >= %5$s%6$s)$sql$,
				s.activities, pipelines._activity_source(deals), pipelines._activity_column(deals, 'kind', 'text'),
				pipelines._activity_column(deals, 'done_at', 'timestamptz'), pipelines._episode_began(deals),
				CASE WHEN past THEN format(' AND %s <= $1', pipelines._activity_column(deals, 'done_at', 'timestamptz')) ELSE '' END);
			parts := concat_ws(' UNION ALL ', parts, demands);
		END IF;
		CONTINUE WHEN parts IS NULL;
		RETURN QUERY EXECUTE format($sql$
			SELECT %1$s, %2$s, %3$L::text, %4$s, %5$L::text, %6$L::text, %7$s, CAST(x.step AS text), CAST(x.what AS text)
			FROM %8$s d
			CROSS JOIN LATERAL (%9$s) x(step, what)
			WHERE %10$s = %2$s AND %11$s = %4$s%12$s
			ORDER BY 1, 8 DESC, 9$sql$,
			pipelines._key_as_text(deals, 'd', false), s.pipeline_id, s.pipeline_name, s.stage_id, s.stage_name, s.next_name,
			pipelines._column(deals, 'owner', 'text'),
			CASE WHEN past THEN pipelines._past_source(deals) ELSE pipelines._deals_source(deals, NULL::name[]) END, parts,
			pipelines._column(deals, 'pipeline_id'), pipelines._column(deals, 'stage_id'),
			CASE WHEN keys IS NULL THEN '' ELSE ' AND ' || pipelines._key_is(deals, 'd', false, '$2') END)
		USING as_of, keys;
	END LOOP;
END
$$;
COMMENT ON FUNCTION pipelines.next_steps(regclass, text, timestamptz) IS
'What is missing before an open deal, or one deal (the text form of its key), can go on to the next stage (S74): columns that the exit rule of its stage or the entry rule of the next one wants filled in, conditions of theirs that are not fulfilled, and activities that the stage demands and that were not done in the present episode.  No row: nothing is missing.
step: column, condition, activity; unchecked: a condition that this table can''t be asked here.  View T_next_steps.
as_of: by the rules, demands and activities of that instant; columns that are not tracked are those of the present row.
Errors: 22023 an instant before the history of an adopted table, 22P02 no key, 55000 not a deals table.';

-- When the present episode of a deal (d) began: what was done before it does not
-- count.  The first one has no beginning that anything could come before.
CREATE FUNCTION pipelines._episode_began(deals regclass)
RETURNS text
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('CASE WHEN %s = 1 THEN ''-infinity''::timestamptz ELSE coalesce((SELECT max(h.%I) FROM %s h WHERE %s AND h.%I < %s AND h.%I IN (''reopen'', ''delete'')), ''-infinity''::timestamptz) END',
				  pipelines._column($1, 'episode'), pipelines._own_column(t.history, 'valid_to'), t.history,
				  pipelines._key_match($1, 'h', 'd'), pipelines._own_column(t.history, 'version'), pipelines._column($1, 'version'),
				  pipelines._own_column(t.history, 'change'))
	FROM pipelines.tracked_table t
	WHERE t.relation = $1
$$;
COMMENT ON FUNCTION pipelines._episode_began(regclass) IS
	'When the present episode of a deal began, as SQL text.';

CREATE FUNCTION pipelines.candidates(deals regclass, pipeline text DEFAULT NULL, as_of timestamptz DEFAULT now())
RETURNS TABLE (deal text, pipeline_id integer, pipeline_name text, stage_id integer, stage_name text,
	candidate_stage_id integer, candidate_stage_name text, candidate_position integer, owner text, amount numeric, currency text)
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000 ROWS 1000
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	past CONSTANT boolean := pipelines._is_past(as_of);
	chosen CONSTANT integer := pipelines._report_pipeline(deals, pipeline);
	s record;
	condition text;
BEGIN
	PERFORM pipelines._need_deals(deals);
	PERFORM pipelines._as_of_covered(deals, as_of);
	FOR s IN
		SELECT x.*
		FROM pipelines._stages_at(as_of) x
		WHERE x.entry_rule IS NOT NULL AND NOT x.archived AND NOT x.pipeline_archived AND x.outcome IN ('open', 'won', 'done') AND (chosen IS NULL OR x.pipeline_id = chosen)
			AND (x.layout_id = (SELECT t.layout_id FROM pipelines.tracked_table t WHERE t.relation = deals)) IS NOT FALSE
		ORDER BY x.pipeline_id, x.position, x.stage_id
	LOOP
		SELECT CASE WHEN bool_and(r.fulfilled IS NOT NULL) THEN string_agg(r.fulfilled, ' AND ') END INTO condition
		FROM pipelines._rule_parts(deals, s.entry_rule) r;
		CONTINUE WHEN condition IS NULL;
		RETURN QUERY EXECUTE format($sql$
			SELECT %1$s, b.pipeline_id, b.pipeline_name, b.stage_id, b.stage_name, %2$s, %3$L::text, %4$s, %5$s, %6$s, coalesce(%7$s, %8$L::text)
			FROM %9$s d
			LEFT JOIN pipelines._stages_at($1) b ON b.pipeline_id = %10$s AND b.stage_id = %11$s
			WHERE %10$s = %12$s AND coalesce(b.outcome IN ('open', 'on_hold') AND b.position < %4$s, false) AND %13$s
			ORDER BY 1$sql$,
			pipelines._key_as_text(deals, 'd', false), s.stage_id, s.stage_name, s.position,
			pipelines._column(deals, 'owner', 'text'), pipelines._column(deals, 'amount', 'numeric'), pipelines._column(deals, 'currency', 'text'),
			(SELECT t.currency FROM pipelines.tracked_table t WHERE t.relation = deals),
			CASE WHEN past THEN pipelines._past_source(deals) ELSE pipelines._deals_source(deals, NULL::name[]) END,
			pipelines._column(deals, 'pipeline_id'), pipelines._column(deals, 'stage_id'), s.pipeline_id, condition)
		USING as_of;
	END LOOP;
END
$$;
COMMENT ON FUNCTION pipelines.candidates(regclass, text, timestamptz) IS
'Deals that fulfil the entry rule of a stage further on in their pipeline (S71). What their present stage asks for before it is left, next_steps() tells.  One row per deal and stage; stages without an entry rule have no candidates.  View T_candidates.
as_of: by the rules of that instant; columns that are not tracked are those of the present row.
Errors: 22023 an instant before the history of an adopted table, 23S01 unknown pipeline, 55000 not a deals table.';
