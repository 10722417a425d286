-- purge.sql: erasing what was kept about one deal.

CREATE FUNCTION pipelines._key_values(relation regclass, columns name[], deal text) RETURNS text[]
LANGUAGE c STABLE STRICT PARALLEL SAFE COST 100
AS 'MODULE_PATHNAME', 'pipelines_key_values';
COMMENT ON FUNCTION pipelines._key_values(regclass, name[], text) IS
'The values of these columns of a table in the text form of a key: of one column the text as it is, of several those of a row literal such as (1,"a b"). Raises 22P02 for what is no key, and for what the type of a column can''t read, naming it.';

CREATE FUNCTION pipelines._key_of(deals regclass, deal text) RETURNS text[]
LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 2000
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT pipelines._key_values($1, array_agg(r.column_name::name ORDER BY r.n), $2)
	FROM pipelines._roles($1) r WHERE r.role ~ '^key[1-9]'
$$;
COMMENT ON FUNCTION pipelines._key_of(regclass, text) IS
'The values of the key columns of a deal in its text form. Raises 22P02, naming the table and the column.';

-- What purge() does to each relation when figures are kept: the assignments of
-- its UPDATE.  What goes: notes, names and reasons, who made the changes, and
-- what an application had tracked beside, unless it is a number, a time, a
-- range, a yes or no, or one of a list.  What stays: the parts that reports
-- count and split by, the owner among them unless told otherwise.  A view of
-- activities that takes no UPDATE (4) or no DELETE (16) is skipped, and told of.
CREATE FUNCTION pipelines._purge_plan(deals regclass, keep_owner boolean)
RETURNS TABLE (n integer, part text, relation text, assignments text, keys text[])
LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 10000 ROWS 3
SET search_path = pg_catalog, pg_temp
AS $$
	WITH registration AS (
		SELECT t.relation, t.history, t.activity, t.activity_columns, t.adopted
		FROM pipelines.tracked_table t WHERE t.relation = $1
	), role AS (
		SELECT r.n, r.role, r.column_name, r.history_column,
			   r.role !~ '^key[1-9]'
			   AND (r.role IN ('close_reason', 'close_notes', 'competitor', 'created_by')
					OR (r.role = 'owner' AND NOT $2)
					OR (r.role NOT IN (SELECT c.role FROM pipelines._deal_columns() c WHERE c.mapped)
						AND y.typcategory NOT IN ('N', 'D', 'B', 'T', 'E', 'R'))) AS goes
		FROM pipelines._roles($1) r
		LEFT JOIN pg_attribute a ON a.attrelid = $1 AND a.attname = r.column_name AND a.attnum > 0
		LEFT JOIN pg_type y ON y.oid = a.atttypid
	), beside AS (
		-- a column of the history is filled from the column of that name, without being listed
		SELECT a.attname
		FROM registration g
		JOIN pg_attribute a ON a.attrelid = g.history AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
		JOIN pg_type y ON y.oid = a.atttypid
		WHERE a.attname NOT IN (SELECT r.history_column FROM role r WHERE r.history_column IS NOT NULL)
			AND a.attname NOT IN (SELECT pipelines._own_column(g.history, c.name) FROM pipelines._history_columns() c)
			AND y.typcategory NOT IN ('N', 'D', 'B', 'T', 'E', 'R')
	), erased AS (
		SELECT 1 AS n, a.attnum, a.attname,
			   CASE WHEN NOT a.attnotnull THEN 'NULL' WHEN y.typcategory = 'S' THEN '''purged''' ELSE 'NULL' END AS value
		FROM registration g
		JOIN pg_attribute a ON a.attrelid = g.relation AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
		JOIN pg_type y ON y.oid = a.atttypid
		WHERE a.attname IN (SELECT r.column_name FROM role r WHERE r.goes)
			OR a.attname IN (SELECT b.attname FROM beside b)
			OR (NOT g.adopted
				AND a.attname IN (SELECT c.role::name FROM pipelines._deal_columns() c WHERE NOT c.mapped)
				AND a.attname NOT IN (SELECT r.column_name FROM role r WHERE r.column_name IS NOT NULL))
		UNION ALL
		SELECT 2, a.attnum, a.attname, 'NULL'
		FROM registration g
		JOIN pg_attribute a ON a.attrelid = g.history AND a.attnum > 0 AND NOT a.attisdropped
		WHERE a.attname IN (SELECT r.history_column FROM role r WHERE r.goes)
			OR a.attname IN (SELECT b.attname FROM beside b)
			OR a.attname IN (SELECT pipelines._own_column(g.history, o.name)
							 FROM unnest(ARRAY['actor', 'role_name', 'application_name', 'reason', 'batch']) o(name))
		UNION ALL
		SELECT 3, a.attnum, a.attname,
			   CASE WHEN NOT a.attnotnull THEN 'NULL' WHEN y.typcategory = 'S' THEN '''purged''' ELSE 'NULL' END
		FROM registration g
		JOIN pg_attribute a ON a.attrelid = g.activity AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
		JOIN pg_type y ON y.oid = a.atttypid
		WHERE a.attname IN (g.activity_columns ->> 'subject', g.activity_columns ->> 'owner')
	)
	SELECT p.n, CASE WHEN p.n < 3 OR pg_relation_is_updatable(c.oid, true) & 20 = 20 THEN p.part ELSE 'skipped' END,
		   format('%s.%I', c.relnamespace::regnamespace, c.relname),
		   (SELECT string_agg(format('%I = %s', e.attname, e.value), ', ' ORDER BY e.attnum) FROM erased e WHERE e.n = p.n),
		   p.keys
	FROM registration g
	CROSS JOIN LATERAL (
		VALUES
		(1, 'deals', g.relation,
		 (SELECT array_agg(r.column_name::text ORDER BY r.n) FROM role r WHERE r.role ~ '^key[1-9]')),
		(2, 'history', g.history,
		 (SELECT array_agg(r.history_column::text ORDER BY r.n) FROM role r WHERE r.role ~ '^key[1-9]')),
		(3, 'activity', g.activity,
		 (SELECT array_agg(g.activity_columns ->> r.role ORDER BY r.n) FROM role r WHERE r.role ~ '^key[1-9]'))
	) p(n, part, relid, keys)
	JOIN pg_class c ON c.oid = p.relid
$$;
COMMENT ON FUNCTION pipelines._purge_plan(regclass, boolean) IS
'What purge() erases where, if figures are kept.';

CREATE FUNCTION pipelines.purge(deals regclass, deal text, keep_figures boolean DEFAULT true, keep_owner boolean DEFAULT true)
RETURNS bigint
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE COST 100000
AS 'MODULE_PATHNAME', 'pipelines_purge';
COMMENT ON FUNCTION pipelines.purge(regclass, text, boolean, boolean) IS
'Erases what was kept about one deal, present or deleted (R-2.37): the one way in which a history is ever changed, for the owner of the deals and their history only.
keep_figures true: names, notes and reasons go (name, account, attributes, created_by, close_reason, close_notes, competitor; actor, role_name, application_name, reason and batch of all changes; subject and owner of the activities; columns that you track beside, unless they are numbers, times or the like); amounts, stages, days and the columns that reports are split by stay, so that no figure changes.  The owner stays as well unless keep_owner is false, which takes the deal out of figures by owner.  Nothing of it is a change of the deal.  Other columns of yours are yours to erase, and what a view of activities shows that takes no changes (a warning says so).
keep_figures false: the deal, its history and its activities are deleted as if they had never been; reports of past days change.
deal: the text form of the key.  Rows that were replaced are on disk until VACUUM, in backups and in the log of the server for longer.
What was purged, by whom and why (pipelines.reason) is noted in pipelines.purge_log and in the log of the server.  Returns how many rows of the history were changed or deleted.
Errors: 42501 not the owner, 22P02 no key, P0002 no such deal, 55000 not a deals table.';
