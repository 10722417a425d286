/*-------------------------------------------------------------------------
 *
 * definitions_private.h
 *	  What the files of src/definitions share among themselves.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PIPELINES_DEFINITIONS_PRIVATE_H
#define PIPELINES_DEFINITIONS_PRIVATE_H

#include "access/htup.h"
#include "access/tupdesc.h"
#include "definitions/definitions.h"
#include "definitions/privilege.h"
#include "nodes/bitmapset.h"
#include "utils/rel.h"

/* the schema of the control file; it can't be chosen at CREATE EXTENSION */
#define PIPELINES_SCHEMA	"pipelines"

#define SETUP_HINT	"Run \"SELECT pipelines.setup();\" as the database's administrator."

/*
 * definitions.c
 */

/* a catalogue stage, or a layout: what has a name but no rules */
typedef struct NamedDef
{
	int32		id;
	char	   *name;
	char	   *code;			/* NULL: none */
} NamedDef;

extern const char *definitions_pipeline_code(const PipelineDef *pipeline);
extern const char *definitions_stage_code(const PipelineDef *pipeline, int place);
extern const NamedDef *definitions_layout_named(const char *name);
extern const NamedDef *definitions_catalogue_stage(int32 stage_id);
extern char *definitions_layout_list(void);

/*
 * access.c
 */
extern void definitions_check_protection(Relation rel, const char *name);

/*
 * references.c
 */
extern void references_note(Oid root, TupleDesc desc, Bitmapset *key,
							HeapTuple tuple, bool kept);
extern bool references_noted(Oid root, TupleDesc desc, Bitmapset *key,
							 HeapTuple tuple);
extern void references_check(Relation rel, const char *table,
							 HeapTuple old_tuple, HeapTuple new_tuple);
extern void references_release(Relation rel, const char *table, HeapTuple tuple);
extern bool references_made_by(const char *table);
extern bool references_lead_to(const char *table);
extern bool references_hand_on_from(const char *table);

/*
 * usage.c
 */

/* what a destructive change is about; 0 stands for 'any' */
typedef struct Usage
{
	int32		pipeline_id;
	int32		stage_id;
	bool		in_history;		/* does the past count, too? */
} Usage;

extern char *usage_report(const Usage *usage);
extern void usage_check_rule(int32 layout_id, const char *rule, const char *what);

#endif							/* PIPELINES_DEFINITIONS_PRIVATE_H */
