/*-------------------------------------------------------------------------
 *
 * names.c
 *	  From names to ids: pipeline_id() and stage_id().
 *
 * Owns the two functions with which people name pipelines and stages in
 * SQL.  The invariant: an answer is never a guess.  What is unknown, or could
 * mean several pipelines, is an error that lists what there is.  A pipeline
 * that the caller may not see is unknown.  They read the backend's copy of
 * the definitions, since UPDATE calls them per row.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "definitions/definitions_private.h"
#include "errors.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/inval.h"

PG_FUNCTION_INFO_V1(pipelines_pipeline_id);
PG_FUNCTION_INFO_V1(pipelines_stage_id);

/* a text that is nothing but an id of ours; 0 if it isn't */
static int32
text_id(const char *text)
{
	int64		id = 0;
	const char *c;

	for (c = text; *c >= '0' && *c <= '9' && id <= PG_INT32_MAX; c++)
		id = id * 10 + (*c - '0');
	return *c != '\0' || id > PG_INT32_MAX ? 0 : (int32) id;
}

typedef enum NameKind
{
	BY_NAME,
	BY_CODE,
	BY_ID
} NameKind;

static bool
pipeline_matches(const PipelineDef *p, const char *name, int32 id, NameKind kind)
{
	const char *code = definitions_pipeline_code(p);

	switch (kind)
	{
		case BY_NAME:
			return strcmp(p->name, name) == 0;
		case BY_CODE:
			return code != NULL && strcmp(code, name) == 0;
		case BY_ID:
			return id != 0 && p->pipeline_id == id;
	}
	return false;
}

/*
 * A name wins over a code, a code over an id; among pipelines of one name in
 * several layouts, a live one over archived ones.
 */
static const PipelineDef *
find_pipeline(const char *name, int32 layout_id, const char *layout)
{
	const PipelineDef **pipelines;
	int			n;
	int			nvisible = 0;
	int32		id = text_id(name);
	NameKind	kind;

	n = definitions_pipelines(&pipelines);

	for (kind = BY_NAME; kind <= BY_ID; kind++)
	{
		const PipelineDef *live = NULL;
		const PipelineDef *archived = NULL;
		int			nlive = 0;
		int			narchived = 0;
		int			i;

		for (i = 0; i < n; i++)
		{
			if (kind == BY_NAME && definitions_may_see(pipelines[i], GetUserId()))
				nvisible++;
			if ((layout_id != 0 && pipelines[i]->layout_id != layout_id) ||
				!pipeline_matches(pipelines[i], name, id, kind) ||
				!definitions_may_see(pipelines[i], GetUserId()))
				continue;
			if (pipelines[i]->archived)
			{
				archived = pipelines[i];
				narchived++;
			}
			else
			{
				live = pipelines[i];
				nlive++;
			}
		}
		if (nlive == 1)
			return live;
		if (nlive == 0 && narchived == 1)
			return archived;
		if (nlive + narchived > 1)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("there is more than one pipeline \"%s\"", name),
					 errdetail("Layouts have pipelines of their own: %s.",
							   definitions_layout_list()),
					 errhint("Say which layout: pipelines.pipeline_id(name, layout); or use the pipeline's code or id.")));
	}

	if (nvisible == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PIPELINES_UNKNOWN_STAGE),
				 errmsg("there is no pipeline \"%s\"", name),
				 errdetail("There are no pipelines yet."),
				 errhint("Make one, for instance \"SELECT pipelines.create_pipeline('Sales', template => 'standard');\".")));
	ereport(ERROR,
			(errcode(ERRCODE_PIPELINES_UNKNOWN_STAGE),
			 layout == NULL ?
			 errmsg("there is no pipeline \"%s\"", name) :
			 errmsg("there is no pipeline \"%s\" in layout \"%s\"", name, layout),
			 errdetail("Pipelines: %s.",
					   definitions_pipeline_list(layout_id)),
			 errhint("Give a pipeline's name, code or id; upper and lower case differ.")));
	return NULL;				/* keep the compiler quiet */
}

static const PipelineDef *
find_pipeline_by_text(const char *name, const char *layout)
{
	int32		layout_id = 0;

	/* a statement that locks no table would not hear of new pipelines */
	AcceptInvalidationMessages();

	if (layout != NULL)
	{
		const NamedDef *found = definitions_layout_named(layout);

		if (found == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_PIPELINES_UNKNOWN_STAGE),
					 errmsg("there is no layout \"%s\"", layout),
					 errdetail("Layouts: %s.", definitions_layout_list()),
					 errhint("A layout is made by the first pipeline that is created in it.")));
		layout_id = found->id;
	}
	return find_pipeline(name, layout_id, layout);
}

Datum
pipelines_pipeline_id(PG_FUNCTION_ARGS)
{
	char	   *name;
	char	   *layout;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	layout = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	PG_RETURN_INT32(find_pipeline_by_text(name, layout)->pipeline_id);
}

static bool
stage_matches(const PipelineDef *p, int place, const char *name, int32 id,
			  NameKind kind)
{
	const StageDef *s = &p->stages[place];
	const char *code;

	switch (kind)
	{
		case BY_NAME:
			return strcmp(s->name, name) == 0;
		case BY_CODE:
			code = definitions_stage_code(p, place);
			return code != NULL && strcmp(code, name) == 0;
		case BY_ID:
			return id != 0 && s->stage_id == id;
	}
	return false;
}

/* 0: the pipeline has no such stage */
static int32
find_stage(const PipelineDef *p, const char *name, NameKind kind)
{
	int32		id = text_id(name);

	for (int i = 0; i < p->nstages; i++)
	{
		if (stage_matches(p, i, name, id, kind))
			return p->stages[i].stage_id;
	}
	return 0;
}

static int32
require_stage_named(const PipelineDef *p, const char *name)
{
	for (NameKind kind = BY_NAME; kind <= BY_ID; kind++)
	{
		int32		stage_id = find_stage(p, name, kind);

		if (stage_id != 0)
			return stage_id;
	}
	ereport(ERROR,
			(errcode(ERRCODE_PIPELINES_UNKNOWN_STAGE),
			 errmsg("pipeline \"%s\" has no stage \"%s\"", p->name, name),
			 errdetail("Stages of the pipeline: %s.", definitions_stage_list(p)),
			 errhint("Give a stage's name, code or id; upper and lower case differ.")));
	return 0;					/* keep the compiler quiet */
}

int32
definitions_pipeline_named(const char *name, int32 layout_id)
{
	return find_pipeline(name, layout_id, NULL)->pipeline_id;
}

/*
 * Stages of one name are one stage, in whichever pipelines they are.
 */
int32
definitions_stage_named(const char *name, int32 pipeline_id, int32 layout_id)
{
	const PipelineDef **pipelines;
	int			n;

	if (pipeline_id != 0)
		return require_stage_named(definitions_pipeline(pipeline_id), name);
	n = definitions_pipelines(&pipelines);
	for (NameKind kind = BY_NAME; kind <= BY_ID; kind++)
	{
		for (int i = 0; i < n; i++)
		{
			int32		stage_id;

			if ((layout_id != 0 && pipelines[i]->layout_id != layout_id) ||
				!definitions_may_see(pipelines[i], GetUserId()))
				continue;
			stage_id = find_stage(pipelines[i], name, kind);
			if (stage_id != 0)
				return stage_id;
		}
	}
	ereport(ERROR,
			(errcode(ERRCODE_PIPELINES_UNKNOWN_STAGE),
			 errmsg("no pipeline has a stage \"%s\"", name),
			 errdetail("Pipelines: %s.", definitions_pipeline_list(layout_id)),
			 errhint("Give a stage's name, code or id; upper and lower case differ.")));
	return 0;					/* keep the compiler quiet */
}

Datum
pipelines_stage_id(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	const PipelineDef *p =
		find_pipeline_by_text(text_to_cstring(PG_GETARG_TEXT_PP(0)), NULL);

	PG_RETURN_INT32(require_stage_named(p, name));
}
