-- totals.sql: what pipelines amount to, for whoever may know that, and a word
-- on how much of the deals a sum is over.

-- The query of totals: parameters are the pipelines, stages, outcomes and
-- probabilities (hundredths of a percent) of all stages that count, and which of
-- them are omitted from forecasts.
CREATE FUNCTION pipelines._totals_text(deals regclass) RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format($sql$
	SELECT s.pipeline_, s.outcome_, x.currency_, count(*), count(*) - count(x.amount_), sum(x.amount_),
		   sum(x.amount_ * x.percent_) * 0.01
	FROM %1$s AS d
	JOIN ROWS FROM (unnest($1), unnest($2), unnest($3), unnest($4), unnest($5)) AS s (pipeline_, stage_, outcome_, hundredths_, omitted_)
		ON %2$s = s.pipeline_ AND %3$s = s.stage_
	CROSS JOIN LATERAL (SELECT %4$s AS amount_, coalesce(%5$s, %6$L) AS currency_,
		CASE WHEN s.outcome_ NOT IN ('open', 'on_hold') THEN s.hundredths_ * 0.01
			 WHEN coalesce(%8$s = 'omitted', s.omitted_) THEN 0
			 ELSE coalesce(%7$s, s.hundredths_ * 0.01) END AS percent_) AS x
	GROUP BY 1, 2, 3
	ORDER BY 1, 2, 3$sql$,
		pipelines._deals_source($1, NULL::name[]), pipelines._column($1, 'pipeline_id', NULL, false),
		pipelines._column($1, 'stage_id', NULL, false), pipelines._column($1, 'amount', 'numeric', false),
		pipelines._column($1, 'currency', 'text', false), t.currency, pipelines._column($1, 'probability', 'numeric', false),
		pipelines._column($1, 'forecast_category', 'text', false))
	FROM pipelines.tracked_table AS t
	WHERE t.relation = $1
$$;
COMMENT ON FUNCTION pipelines._totals_text(regclass) IS
'The query of totals(), as SQL text.';

CREATE FUNCTION pipelines._totals(deals regclass)
RETURNS TABLE (pipeline_id integer, pipeline_name text, outcome text, currency text, deals bigint, unpriced bigint,
	amount numeric, weighted numeric, masked boolean)
LANGUAGE c STABLE STRICT PARALLEL UNSAFE COST 1000000 ROWS 20
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pipelines_totals';
COMMENT ON FUNCTION pipelines._totals(regclass) IS
'The work of totals(); masked: the caller may have the totals of the pipeline only.';

CREATE FUNCTION pipelines.scope_note(deals regclass) RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('Sums are over the deals of %s that role %s may see.', $1, quote_ident(CURRENT_USER))
	WHERE row_security_active($1)
$$;
COMMENT ON FUNCTION pipelines.scope_note(regclass) IS
'A sentence for below a report (R-12.1): says that its sums are over those deals only that the current user may see, because row security decides about the table for him; NULL: they are over all deals.  It tells nothing of what is hidden, nor whether anything is.
Errors: 42P01 no such table.';

CREATE FUNCTION pipelines.totals(deals regclass)
RETURNS TABLE (pipeline_id integer, pipeline_name text, outcome text, currency text, deals bigint, unpriced bigint,
	amount numeric, weighted numeric, scope_note text)
LANGUAGE sql STABLE STRICT PARALLEL UNSAFE COST 1000000 ROWS 20
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT t.pipeline_id, t.pipeline_name, t.outcome, t.currency, t.deals, t.unpriced, t.amount, t.weighted,
		   CASE WHEN NOT t.masked THEN pipelines.scope_note($1)
				WHEN t.deals IS NULL THEN 'Not shown: too few deals.'
				ELSE 'Over all deals, which are not shown.' END
	FROM pipelines._totals($1) AS t
	ORDER BY t.pipeline_name, t.pipeline_id, t.outcome, t.currency
$$;
COMMENT ON FUNCTION pipelines.totals(regclass) IS
'What the pipelines amount to: one row for each pipeline, outcome and currency.  deals: how many; unpriced: those without an amount; weighted: amount times probability (won 100 percent, lost and omitted ones 0), not rounded; the deal''s own probability, else that of its stage: scores don''t count here.
Of pipelines that the caller sees: over the deals that he sees.  Of those that he was given the totals of only (grant_pipeline(pipeline, role, ''totals''), R-12.2): over all deals, without any right on the table; where fewer than pipeline.totals_from of them (5 unless changed) have an amount, NULL.  Whoever asks before and after a change can tell what it was about: give totals to those who may know about that much.
scope_note: what the row is over, for below a report; NULL: all deals.
Errors: 42809 or 55000 not a deals table, 42501 no right on the table and no totals.';
