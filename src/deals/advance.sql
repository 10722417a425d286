-- advance.sql: deals whose stage is complete go on to the next one (S31, S66).
--
-- A stage is complete for a deal when what it demands is fulfilled: its exit
-- rule, its activities.  Whether it is, and whether the next stage takes the
-- deal, the triggers decide, as for any move; here stands only who is asked.
-- A stage that demands nothing is never complete by itself.

-- The deals that may be complete, by the stage that they would go to; those
-- furthest on first, so that no deal goes two steps at once.
CREATE FUNCTION pipelines._advance_steps(deals regclass, deal text)
RETURNS TABLE (next_stage integer, ids text[])
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 100000 ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	as_text text;
	condition text := 'true';
BEGIN
	PERFORM pipelines._need_deals(deals);
	SELECT CASE WHEN count(*) = 1 THEN format('d.%I::text', min(r.column_name::text))
				ELSE format('ROW(%s)::text', string_agg(format('d.%I', r.column_name), ', ' ORDER BY r.n)) END,
		   CASE WHEN deal IS NULL THEN 'true'
				ELSE string_agg(format('d.%I = ($1)[%s]::%s', r.column_name, substr(r.role, 4), pipelines._base_type(a.atttypid, a.atttypmod)), ' AND ') END
	INTO as_text, condition
	FROM pipelines._roles(deals) r
	JOIN pg_attribute a ON a.attrelid = _advance_steps.deals AND a.attname = r.column_name AND a.attnum > 0
	WHERE r.role ~ '^key[1-9]';
	RETURN QUERY EXECUTE format($sql$
		SELECT n.stage_id, array_agg(%1$s ORDER BY %1$s)
		FROM %2$s d
		JOIN pipelines.pipeline_stage s ON s.pipeline_id = %3$s AND s.stage_id = %4$s
		CROSS JOIN LATERAL (
			SELECT x.stage_id
			FROM pipelines.pipeline_stage x
			WHERE x.pipeline_id = s.pipeline_id AND x.position > s.position
				AND x.outcome = 'open' AND x.archived_at IS NULL
			ORDER BY NOT x.mandatory, x.position
			LIMIT 1
		) n
		WHERE %5$s AND s.outcome = 'open'
			AND (s.exit_rule IS NOT NULL
				 OR EXISTS (SELECT FROM pipelines.stage_activity a
							WHERE a.pipeline_id = s.pipeline_id AND a.stage_id = s.stage_id))
		GROUP BY s.pipeline_id, s.stage_id, s.position, n.stage_id
		ORDER BY s.pipeline_id, s.position DESC$sql$,
		as_text, deals, pipelines._column(deals, 'pipeline_id'), pipelines._column(deals, 'stage_id'), condition)
	USING pipelines._key_of(deals, deal);
END
$$;
COMMENT ON FUNCTION pipelines._advance_steps(regclass, text) IS
'Deals in stages that demand something, by the stage that they would go to.';

-- No SET clause: the triggers of an application may count on the caller's path.
CREATE FUNCTION pipelines.advance(deals regclass, deal text DEFAULT NULL, reason text DEFAULT 'stage complete')
RETURNS SETOF pipelines.move_result
LANGUAGE sql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000 ROWS 100
AS $$
	SELECT m.deal, m.ok, m.sqlstate, m.reason, m.target, m.weighted_change
	FROM pipelines._advance_steps($1, $2) AS s
	CROSS JOIN LATERAL pipelines.move_many($1, s.ids, s.next_stage::pg_catalog.text, NULL::pg_catalog.text,
										   $3, 'skip'::pg_catalog.text) AS m
	WHERE m.ok
$$;
COMMENT ON FUNCTION pipelines.advance(regclass, text, text) IS
'Moves on the deals whose stage is complete: its exit rule is fulfilled and its activities are done (S31).  All deals of the table, or one (the text form of its key): to the next mandatory open stage of their pipeline, one step at a time.  Deals whose stage demands nothing, and those that a rule keeps back, stay.
To be called by the application when an activity is done, or by a scheduler.  Returns the deals that went on, as move_many() does.
Errors: 55000 not a deals table, 22P02 no key.';
