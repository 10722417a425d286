-- catalog.sql: what the extension consists of, one line per fact, in an order
-- and a spelling that are the same on every PostgreSQL version.
--
-- Expects the psql variable `bodies`: with 1 the texts of functions are listed
-- (as digests), too.  Used by catalog.sh, which writes the checked-in listing,
-- and by the TAP tests that compare with it.
\pset format unaligned
\pset tuples_only on
SET search_path = pg_catalog;
WITH member AS (
	SELECT d.classid, d.objid
	FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
	WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'pipelines'
), fact AS (
	SELECT 'extension'::text AS kind, e.extname::text AS name,
		   ARRAY['schema ' || e.extnamespace::regnamespace, CASE WHEN e.extrelocatable THEN 'relocatable' END,
				 'dumped: ' || coalesce((SELECT string_agg(c::regclass::text, ' ' ORDER BY c::regclass::text COLLATE "C") FROM unnest(e.extconfig) c), 'nothing')] AS what,
		   obj_description(e.oid, 'pg_extension') AS comment
	FROM pg_extension e WHERE e.extname = 'pipelines'
	UNION ALL
	SELECT CASE p.prokind WHEN 'a' THEN 'aggregate' WHEN 'w' THEN 'window function' WHEN 'p' THEN 'procedure' ELSE 'function' END,
		   p.oid::regprocedure::text,
		   -- 13 leaves out the IN of a procedure
		   ARRAY['(' || CASE WHEN p.prokind = 'p' THEN regexp_replace(pg_get_function_arguments(p.oid), '\mIN ', '', 'g') ELSE pg_get_function_arguments(p.oid) END || ')', 'returns ' || coalesce(pg_get_function_result(p.oid), 'nothing'),
				 l.lanname, CASE p.provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable' ELSE 'volatile' END,
				 CASE WHEN p.proisstrict THEN 'strict' END,
				 CASE p.proparallel WHEN 's' THEN 'parallel safe' WHEN 'r' THEN 'parallel restricted' ELSE 'parallel unsafe' END,
				 'cost ' || p.procost, CASE WHEN p.proretset THEN 'rows ' || p.prorows END,
				 CASE WHEN p.prosecdef THEN 'SECURITY DEFINER' END, CASE WHEN p.proleakproof THEN 'LEAKPROOF' END,
				 CASE WHEN p.prosupport <> 0 THEN 'support ' || p.prosupport END,
				 (SELECT string_agg('set ' || s, '; ' ORDER BY s COLLATE "C") FROM unnest(p.proconfig) s),
				 'execute: ' || coalesce((SELECT string_agg(coalesce(nullif(a.grantee, 0)::regrole::text, 'public'), ' ')
										  FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee <> p.proowner), 'owner'),
				 CASE WHEN p.prokind = 'a' THEN
					 (SELECT concat_ws(' ', 'transition', g.aggtransfn, 'state', format_type(g.aggtranstype, NULL), 'space', g.aggtransspace,
									   'final', nullif(g.aggfinalfn::oid, 0)::regproc, 'final modifies', g.aggfinalmodify,
									   'combine', nullif(g.aggcombinefn::oid, 0)::regproc,
									   'serial', nullif(g.aggserialfn::oid, 0)::regproc, 'deserial', nullif(g.aggdeserialfn::oid, 0)::regproc,
									   'moving', nullif(g.aggmtransfn::oid, 0)::regproc, nullif(g.aggminvtransfn::oid, 0)::regproc,
									   nullif(g.aggmfinalfn::oid, 0)::regproc,
									   'initial', quote_nullable(g.agginitval))
					  FROM pg_aggregate g WHERE g.aggfnoid = p.oid) END,
				 -- a C function's is the name in the library
				 CASE WHEN l.lanname = 'c' THEN 'symbol ' || p.prosrc WHEN :bodies = 1 THEN 'body ' || md5(p.prosrc) END],
		   obj_description(p.oid, 'pg_proc')
	FROM member m JOIN pg_proc p ON p.oid = m.objid JOIN pg_language l ON l.oid = p.prolang
	WHERE m.classid = 'pg_proc'::regclass
	UNION ALL
	SELECT 'type', format_type(t.oid, NULL),
		   ARRAY[CASE t.typtype WHEN 'b' THEN 'base' WHEN 'c' THEN 'composite' WHEN 'd' THEN 'domain' WHEN 'e' THEN 'enum' WHEN 'r' THEN 'range' WHEN 'm' THEN 'multirange' ELSE t.typtype::text END,
				 'length ' || t.typlen, CASE WHEN t.typbyval THEN 'by value' END, 'align ' || t.typalign::text, 'storage ' || t.typstorage::text, 'category ' || t.typcategory::text,
				 'input ' || t.typinput::text, 'output ' || t.typoutput::text, 'receive ' || t.typreceive::text, 'send ' || t.typsend::text,
				 CASE WHEN t.typtype = 'd' THEN 'over ' || format_type(t.typbasetype, t.typtypmod) END, 'default ' || t.typdefault,
				 (SELECT string_agg(pg_get_constraintdef(c.oid), ' ' ORDER BY c.conname COLLATE "C") FROM pg_constraint c WHERE c.contypid = t.oid AND c.contype = 'c'),
				 (SELECT string_agg(quote_literal(n.enumlabel), ' ' ORDER BY n.enumsortorder) FROM pg_enum n WHERE n.enumtypid = t.oid),
				 (SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum)
				  FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND t.typtype = 'c'),
				 'usage: ' || (SELECT string_agg(coalesce(nullif(a.grantee, 0)::regrole::text, 'public'), ' ')
							   FROM aclexplode(coalesce(t.typacl, acldefault('T', t.typowner))) a WHERE a.grantee <> t.typowner)],
		   obj_description(t.oid, 'pg_type')
	FROM member m JOIN pg_type t ON t.oid = m.objid
	-- arrays and multiranges come with their types
	WHERE m.classid = 'pg_type'::regclass AND NOT (t.typcategory = 'A' AND t.typelem <> 0)
	UNION ALL
	SELECT 'operator', o.oid::regoperator::text,
		   ARRAY['returns ' || format_type(o.oprresult, NULL), 'function ' || o.oprcode::text, 'commutator ' || nullif(o.oprcom, 0)::regoperator,
				 'negator ' || nullif(o.oprnegate, 0)::regoperator, CASE WHEN o.oprcanmerge THEN 'merges' END, CASE WHEN o.oprcanhash THEN 'hashes' END,
				 'restrict ' || nullif(o.oprrest::oid, 0)::regproc, 'join ' || nullif(o.oprjoin::oid, 0)::regproc],
		   obj_description(o.oid, 'pg_operator')
	FROM member m JOIN pg_operator o ON o.oid = m.objid WHERE m.classid = 'pg_operator'::regclass
	UNION ALL
	SELECT 'cast', format_type(c.castsource, NULL) || ' to ' || format_type(c.casttarget, NULL),
		   ARRAY[CASE c.castcontext WHEN 'i' THEN 'implicit' WHEN 'a' THEN 'assignment' ELSE 'explicit' END,
				 CASE c.castmethod WHEN 'f' THEN 'function ' || c.castfunc::regprocedure WHEN 'i' THEN 'through text' ELSE 'binary' END],
		   obj_description(c.oid, 'pg_cast')
	FROM member m JOIN pg_cast c ON c.oid = m.objid WHERE m.classid = 'pg_cast'::regclass
	UNION ALL
	SELECT 'operator class', n.nspname || '.' || c.opcname || ' for ' || a.amname,
		   ARRAY['type ' || format_type(c.opcintype, NULL), CASE WHEN c.opcdefault THEN 'default' END,
				 (SELECT string_agg(o.amopstrategy || ' ' || o.amopopr::regoperator, ', ' ORDER BY o.amopstrategy) FROM pg_amop o WHERE o.amopfamily = c.opcfamily),
				 (SELECT string_agg(r.amprocnum || ' ' || r.amproc::regprocedure, ', ' ORDER BY r.amprocnum) FROM pg_amproc r WHERE r.amprocfamily = c.opcfamily)],
		   obj_description(c.oid, 'pg_opclass')
	FROM member m JOIN pg_opclass c ON c.oid = m.objid JOIN pg_namespace n ON n.oid = c.opcnamespace JOIN pg_am a ON a.oid = c.opcmethod
	WHERE m.classid = 'pg_opclass'::regclass
	UNION ALL
	SELECT CASE c.relkind WHEN 'v' THEN 'view' WHEN 'S' THEN 'sequence' ELSE 'table' END, c.oid::regclass::text,
		   ARRAY[(SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END, ', ' ORDER BY a.attnum)
				  FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
				 (SELECT string_agg(coalesce(nullif(a.grantee, 0)::regrole::text, 'public') || ' ' || a.privilege_type, ', ' ORDER BY a.privilege_type COLLATE "C")
				  FROM aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a WHERE a.grantee <> c.relowner)],
		   obj_description(c.oid, 'pg_class')
	FROM member m JOIN pg_class c ON c.oid = m.objid WHERE m.classid = 'pg_class'::regclass
	UNION ALL
	-- what else there may be: it must not come unseen
	SELECT 'other', pg_describe_object(m.classid, m.objid, 0), ARRAY[]::text[], NULL
	FROM member m
	WHERE m.classid NOT IN ('pg_proc'::regclass, 'pg_type'::regclass, 'pg_operator'::regclass, 'pg_cast'::regclass, 'pg_opclass'::regclass, 'pg_class'::regclass)
)
SELECT line FROM (
	SELECT kind || ' ' || name || ': ' || array_to_string(what, ' | ') FROM fact
	UNION ALL
	SELECT 'comment on ' || kind || ' ' || name || ': ' || replace(comment, E'\n', ' ') FROM fact WHERE comment IS NOT NULL
	UNION ALL
	SELECT 'no comment on ' || kind || ' ' || name FROM fact WHERE comment IS NULL AND kind <> 'other'
) x (line)
ORDER BY line COLLATE "C";
