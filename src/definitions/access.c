/*-------------------------------------------------------------------------
 *
 * access.c
 *	  Who may see, move and define in which pipeline.
 *
 * Owns the answer to that question, for the policies of row security, for
 * the triggers on deals and for messages.  The invariant: a protected
 * pipeline is there for superusers and roles that bypass row security, for
 * members of the definitions' owner, and for members of the roles that are
 * listed for it, and for nobody else; whoever does not see it is told what he
 * would be told if it did not exist.
 *
 * It reads the backend's copy of the definitions, never the tables: policies
 * on the definition tables call it, and must not call themselves.  A role is
 * kept by name and looked up when it is asked for, so that a role that is
 * missing (as after a restore) lets nobody in and breaks nothing.
 *
 * Must never answer for a row of the definitions that it does not know: an
 * unknown pipeline is in no list.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "definitions/definitions_private.h"
#include "errors.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/rls.h"

PG_FUNCTION_INFO_V1(pipelines_visible_pipelines);
PG_FUNCTION_INFO_V1(pipelines_movable_pipelines);
PG_FUNCTION_INFO_V1(pipelines_definable_pipelines);
PG_FUNCTION_INFO_V1(pipelines_hidden_stages);
PG_FUNCTION_INFO_V1(pipelines_protects);
PG_FUNCTION_INFO_V1(pipelines_set_protected);
PG_FUNCTION_INFO_V1(pipelines_set_pipeline_role);
PG_FUNCTION_INFO_V1(pipelines_revoke_pipeline_role);
PG_FUNCTION_INFO_V1(pipelines_copy_protection);

typedef enum PipelineRight
{
	RIGHT_SEE,
	RIGHT_MOVE,
	RIGHT_DEFINE,
	RIGHT_TOTALS
} PipelineRight;

/* no role can bear this name */
#define EVERYBODY	"public"

/* is "protected" being changed by our own statement? */
static bool changing_protection = false;

/* is the role one of those, or a member of one, that have the right? */
static bool
is_listed(const PipelineDef *pipeline, Oid roleid, PipelineRight right)
{
	int			i;

	for (i = 0; i < pipeline->nroles; i++)
	{
		const PipelineRoleDef *def = &pipeline->roles[i];
		Oid			granted;

		if (!(right == RIGHT_SEE ? def->can_see :
			  right == RIGHT_MOVE ? def->can_move :
			  right == RIGHT_DEFINE ? def->can_define : true))
			continue;
		if (strcmp(def->role, EVERYBODY) == 0)
			return true;
		granted = get_role_oid(def->role, true);
		if (OidIsValid(granted) && has_privs_of_role(roleid, granted))
			return true;
	}
	return false;
}

static bool
has_right(const PipelineDef *pipeline, Oid roleid, PipelineRight right)
{
	if (likely(!pipeline->is_protected))
		return true;
	return has_bypassrls_privilege(roleid) ||
		has_privs_of_role(roleid, definitions_owner()) ||
		is_listed(pipeline, roleid, right);
}

bool
definitions_may_see(const PipelineDef *pipeline, Oid roleid)
{
	return has_right(pipeline, roleid, RIGHT_SEE);
}

bool
definitions_may_move(const PipelineDef *pipeline, Oid roleid)
{
	return has_right(pipeline, roleid, RIGHT_MOVE);
}

bool
definitions_may_define(const PipelineDef *pipeline, Oid roleid)
{
	return has_right(pipeline, roleid, RIGHT_DEFINE);
}

bool
definitions_totals_only(const PipelineDef *pipeline, Oid roleid)
{
	return pipeline->is_protected && !has_right(pipeline, roleid, RIGHT_SEE) &&
		is_listed(pipeline, roleid, RIGHT_TOTALS);
}

/*
 * The owner of a deals table is exempt from its row security, and so are his
 * statements here: a restore must be able to write every row.
 */
bool
definitions_hidden_in(const PipelineDef *pipeline, Oid deals)
{
	return unlikely(pipeline->is_protected) &&
		!definitions_may_see(pipeline, GetUserId()) &&
		check_enable_rls(deals, InvalidOid, true) == RLS_ENABLED;
}

/* the same for one that is seen, but where it may not make or move deals */
bool
definitions_move_denied(const PipelineDef *pipeline, Oid deals)
{
	return unlikely(pipeline->is_protected) &&
		!definitions_may_move(pipeline, GetUserId()) &&
		check_enable_rls(deals, InvalidOid, true) == RLS_ENABLED;
}

const PipelineDef *
definitions_pipeline_seen(int32 pipeline_id)
{
	const PipelineDef *pipeline = definitions_pipeline(pipeline_id);

	return pipeline != NULL && definitions_may_see(pipeline, GetUserId()) ?
		pipeline : NULL;
}

/*
 * To protect a pipeline is more than a word in a table: the deals tables must
 * follow.  A plain INSERT or UPDATE would leave them open.
 */
void
definitions_check_protection(Relation rel, const char *name)
{
	if (changing_protection)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the protection of pipeline \"%s\" can't be changed by a plain statement", name),
			 errdetail("Tables of deals must be protected with it."),
			 errhint("Use pipelines.protect_pipeline() or pipelines.grant_pipeline()."),
			 errtable(rel)));
}

static ArrayType *
make_id_array(const int32 *ids, int n)
{
	Datum	   *elements = (Datum *) palloc(sizeof(Datum) * Max(n, 1));
	int			i;

	for (i = 0; i < n; i++)
		elements[i] = Int32GetDatum(ids[i]);
	return construct_array(elements, n, INT4OID, sizeof(int32), true, TYPALIGN_INT);
}

/*
 * The pipelines in which the current user has a right.
 */
static ArrayType *
pipelines_with(PipelineRight right)
{
	const PipelineDef **pipelines;
	Oid			roleid = GetUserId();
	int32	   *ids;
	int			n;
	int			found = 0;
	int			i;

	/* a statement that locks no table would not hear of a right taken away */
	AcceptInvalidationMessages();
	n = definitions_pipelines(&pipelines);
	ids = (int32 *) palloc(sizeof(int32) * Max(n, 1));
	for (i = 0; i < n; i++)
	{
		if (has_right(pipelines[i], roleid, right))
			ids[found++] = pipelines[i]->pipeline_id;
	}
	return make_id_array(ids, found);
}

Datum
pipelines_visible_pipelines(PG_FUNCTION_ARGS)
{
	PG_RETURN_ARRAYTYPE_P(pipelines_with(RIGHT_SEE));
}

Datum
pipelines_movable_pipelines(PG_FUNCTION_ARGS)
{
	PG_RETURN_ARRAYTYPE_P(pipelines_with(RIGHT_MOVE));
}

Datum
pipelines_definable_pipelines(PG_FUNCTION_ARGS)
{
	PG_RETURN_ARRAYTYPE_P(pipelines_with(RIGHT_DEFINE));
}

static int
compare_int32(const void *a, const void *b)
{
	int32		ia = *(const int32 *) a;
	int32		ib = *(const int32 *) b;

	return ia < ib ? -1 : (ia > ib ? 1 : 0);
}

/*
 * Stages that are in no pipeline but hidden ones.  Whoever may add to the
 * picklist sees all of it: he could find a name out by adding it, and a
 * pipeline is made of stages that he picks by name.
 */
Datum
pipelines_hidden_stages(PG_FUNCTION_ARGS)
{
	const PipelineDef **pipelines;
	Oid			roleid = GetUserId();
	int32	   *seen;
	int32	   *hidden;
	int			nseen = 0;
	int			nhidden = 0;
	int			places = 0;
	int			found = 0;
	int			n;
	int			i;
	int			j;

	AcceptInvalidationMessages();
	n = definitions_pipelines(&pipelines);
	for (i = 0; i < n; i++)
		places += pipelines[i]->nstages;
	seen = (int32 *) palloc(sizeof(int32) * Max(places, 1));
	hidden = (int32 *) palloc(sizeof(int32) * Max(places, 1));
	for (i = 0; i < n; i++)
	{
		bool		may_see = definitions_may_see(pipelines[i], roleid);

		for (j = 0; j < pipelines[i]->nstages; j++)
		{
			if (may_see)
				seen[nseen++] = pipelines[i]->stages[j].stage_id;
			else
				hidden[nhidden++] = pipelines[i]->stages[j].stage_id;
		}
	}
	if (nhidden > 0 &&
		pg_class_aclcheck(definitions_relid("stage"), roleid, ACL_INSERT) == ACLCHECK_OK)
		nhidden = 0;
	if (nseen > 1)
		qsort(seen, nseen, sizeof(int32), compare_int32);
	for (i = 0; i < nhidden; i++)
	{
		if (nseen == 0 ||
			bsearch(&hidden[i], seen, nseen, sizeof(int32), compare_int32) == NULL)
			hidden[found++] = hidden[i];
	}
	PG_RETURN_ARRAYTYPE_P(make_id_array(hidden, found));
}

/*
 * _protects(layout_id): is a pipeline of the layout (NULL: any pipeline)
 * protected?  NULL where there are no definitions, as in the middle of a
 * restore.  It tells nothing that the policies on a deals table don't.
 */
Datum
pipelines_protects(PG_FUNCTION_ARGS)
{
	const PipelineDef **pipelines;
	int			n;
	int			i;

	AcceptInvalidationMessages();
	if (!definitions_exist())
		PG_RETURN_NULL();
	n = definitions_pipelines(&pipelines);
	for (i = 0; i < n; i++)
	{
		if (pipelines[i]->is_protected &&
			(PG_ARGISNULL(0) || pipelines[i]->layout_id == PG_GETARG_INT32(0)))
			PG_RETURN_BOOL(true);
	}
	PG_RETURN_BOOL(false);
}

/*
 * The right to say who may do what in a pipeline, which, unlike that to
 * change it, nobody has by a privilege on the definition tables.
 */
static bool
may_grant(const PipelineDef *pipeline)
{
	return has_privs_of_role(GetUserId(), definitions_owner()) ||
		is_listed(pipeline, GetUserId(), RIGHT_DEFINE);
}

static const PipelineDef *
require_grantable(int32 pipeline_id)
{
	const PipelineDef *pipeline;

	AcceptInvalidationMessages();
	pipeline = definitions_pipeline_seen(pipeline_id);
	if (pipeline == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_PIPELINES_UNKNOWN_STAGE),
				 errmsg("pipeline %d does not exist", pipeline_id),
				 errhint("Look a pipeline up by name with pipelines.pipeline_id().")));
	if (!may_grant(pipeline))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to decide who has access to pipeline \"%s\"",
						pipeline->name),
				 errdetail("Only members of role \"%s\", to whom the definitions belong, and of roles that may define the pipeline can do that.",
						   GetUserNameFromId(definitions_owner(), true)),
				 errhint("Ask one of them.")));
	return pipeline;
}

/* as the definitions' owner; the caller's right has been checked */
static uint64
execute_as_owner(const char *query, int nargs, Oid *types, Datum *values, int expected)
{
	RunAs		saved;
	uint64		processed;

	run_as(definitions_owner(), &saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	changing_protection = true;
	PG_TRY();
	{
		if (SPI_execute_with_args(query, nargs, types, values, NULL, false, 0) != expected)
			elog(ERROR, "could not change who has access to a pipeline");
	}
	PG_FINALLY();
	{
		changing_protection = false;
	}
	PG_END_TRY();
	processed = SPI_processed;
	SPI_finish();
	run_as_end(&saved);
	return processed;
}

/*
 * _set_protected(pipeline_id, protected): true if it was otherwise before.
 */
Datum
pipelines_set_protected(PG_FUNCTION_ARGS)
{
	Oid			types[2] = {INT4OID, BOOLOID};
	Datum		values[2] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)};

	(void) require_grantable(PG_GETARG_INT32(0));
	PG_RETURN_BOOL(execute_as_owner("UPDATE pipelines.pipeline SET protected = $2"
									" WHERE pipeline_id OPERATOR(pg_catalog.=) $1"
									" AND protected OPERATOR(pg_catalog.<>) $2",
									2, types, values, SPI_OK_UPDATE) > 0);
}

/*
 * _set_pipeline_role(pipeline_id, role, can_see, can_move, can_define): makes
 * or replaces the row.
 */
Datum
pipelines_set_pipeline_role(PG_FUNCTION_ARGS)
{
	Oid			types[5] = {INT4OID, TEXTOID, BOOLOID, BOOLOID, BOOLOID};
	Datum		values[5];
	int			i;

	for (i = 0; i < 5; i++)
		values[i] = PG_GETARG_DATUM(i);
	(void) require_grantable(PG_GETARG_INT32(0));
	(void) execute_as_owner("INSERT INTO pipelines.pipeline_role AS r"
							" (pipeline_id, role, can_see, can_move, can_define)"
							" VALUES ($1, $2, $3, $4, $5)"
							" ON CONFLICT (pipeline_id, role) DO UPDATE SET"
							" can_see = excluded.can_see, can_move = excluded.can_move,"
							" can_define = excluded.can_define",
							5, types, values, SPI_OK_INSERT);
	PG_RETURN_VOID();
}

/*
 * _revoke_pipeline_role(pipeline_id, role)
 */
Datum
pipelines_revoke_pipeline_role(PG_FUNCTION_ARGS)
{
	Oid			types[2] = {INT4OID, TEXTOID};
	Datum		values[2] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)};

	(void) require_grantable(PG_GETARG_INT32(0));
	(void) execute_as_owner("DELETE FROM pipelines.pipeline_role"
							" WHERE pipeline_id OPERATOR(pg_catalog.=) $1"
							" AND role OPERATOR(pg_catalog.=) $2",
							2, types, values, SPI_OK_DELETE);
	PG_RETURN_VOID();
}

/*
 * _copy_protection(from, to): a clone is hidden from those from whom its
 * source is hidden.  For a pipeline only that has not been given to anybody,
 * and for those who could protect it by an UPDATE.
 */
Datum
pipelines_copy_protection(PG_FUNCTION_ARGS)
{
	Oid			types[2] = {INT4OID, INT4OID};
	Datum		values[2] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)};
	const PipelineDef *source = definitions_pipeline_seen(PG_GETARG_INT32(0));
	const PipelineDef *target;

	if (source == NULL || !source->is_protected)
		PG_RETURN_BOOL(false);
	target = definitions_pipeline_seen(PG_GETARG_INT32(1));
	if (target == NULL || target->is_protected || target->nroles > 0)
		PG_RETURN_BOOL(false);
	if (pg_class_aclcheck(definitions_relid("pipeline"), GetUserId(), ACL_UPDATE) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to protect pipeline \"%s\"", target->name),
				 errdetail("A copy of a protected pipeline must be protected, too."),
				 errhint("Ask the owner of the definitions.")));
	(void) execute_as_owner("INSERT INTO pipelines.pipeline_role"
							" (pipeline_id, role, can_see, can_move, can_define)"
							" SELECT $2, r.role, r.can_see, r.can_move, r.can_define"
							" FROM pipelines.pipeline_role AS r"
							" WHERE r.pipeline_id OPERATOR(pg_catalog.=) $1",
							2, types, values, SPI_OK_INSERT);
	(void) execute_as_owner("UPDATE pipelines.pipeline AS p"
							" SET protected = true, totals_from = s.totals_from"
							" FROM pipelines.pipeline AS s"
							" WHERE p.pipeline_id OPERATOR(pg_catalog.=) $2"
							" AND s.pipeline_id OPERATOR(pg_catalog.=) $1"
							" AND $1 OPERATOR(pg_catalog.<>) $2",
							2, types, values, SPI_OK_UPDATE);
	PG_RETURN_BOOL(true);
}
