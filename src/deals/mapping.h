/*-------------------------------------------------------------------------
 *
 * mapping.h
 *	  Which column of a deals table plays which part, and where it goes in
 *	  the history.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PIPELINES_MAPPING_H
#define PIPELINES_MAPPING_H

#include "access/attnum.h"
#include "datatype/timestamp.h"
#include "fmgr.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"

/* the columns that the triggers themselves read or write */
typedef enum DealRole
{
	ROLE_PIPELINE_ID,
	ROLE_STAGE_ID,
	ROLE_AMOUNT,
	ROLE_CURRENCY,
	ROLE_PROBABILITY,
	ROLE_FORECAST_CATEGORY,
	ROLE_CLOSED_AT,
	ROLE_CLOSED_ON,
	ROLE_CLOSE_REASON,
	ROLE_COMPETITOR,
	ROLE_CLOSE_NOTES,
	ROLE_CREATED_AT,
	ROLE_CREATED_BY,
	ROLE_APPLICATION_STAGE,		/* of an adopted table, see application.c */
	ROLE_APPLICATION_OUTCOME,
	ROLE_STAGE_ENTERED_AT,
	ROLE_FURTHEST_STAGE_ID,
	ROLE_GATE_STAGE_ID,
	ROLE_EPISODE,
	ROLE_VERSION,
	ROLE_CHANGED_AT
} DealRole;

#define NUM_ROLES (ROLE_CHANGED_AT + 1)

/* the columns that a history has of its own, beside key and tracked columns */
typedef enum HistoryColumn
{
	HISTORY_VERSION,
	HISTORY_CHANGE,
	HISTORY_VALID_FROM,
	HISTORY_VALID_TO,
	HISTORY_TO_PIPELINE_ID,
	HISTORY_TO_STAGE_ID,
	HISTORY_SKIPPED_STAGES,
	HISTORY_ACTOR,
	HISTORY_ROLE_NAME,
	HISTORY_APPLICATION_NAME,
	HISTORY_REASON,
	HISTORY_BATCH,
	HISTORY_TXID,
	HISTORY_RECORDED_AT,
	HISTORY_BYPASSED,
	HISTORY_IMPORTED
} HistoryColumn;

#define NUM_HISTORY_COLUMNS (HISTORY_IMPORTED + 1)

/* how two values of a tracked column are compared */
typedef enum Comparison
{
	COMPARE_IMAGE,				/* equal if the stored bytes are equal */
	COMPARE_NUMERIC,			/* 1.0 and 1.00 are the same amount */
	COMPARE_NEVER				/* generated: follows from other columns */
} Comparison;

typedef struct TrackedColumn
{
	AttrNumber	attnum;			/* in the table the trigger fires on */
	AttrNumber	history_attnum;
	Comparison	comparison;
	bool		bookkeeping;	/* written by us alone */
	bool		byval;
	int16		len;
} TrackedColumn;

/* a column that the mapping trigger lists */
typedef struct MappedPart
{
	const char *name;			/* its part: a role, key1, or a tracked column */
	AttrNumber	attnum;
} MappedPart;

struct CompiledRule;			/* of requirements.c */
struct Application;

/*
 * A deals table, or one partition of it.  Everything in column numbers of
 * that very relation.
 */
typedef struct DealsTable
{
	Oid			relid;			/* what the trigger fires on; hash key */
	bool		valid;
	uint64		lock_epoch;		/* history is locked if this is the current */
	MemoryContext context;		/* owns all that follows */

	Oid			root;			/* the deals table itself */
	Oid			owner;			/* of the deals table */
	Oid			history;		/* InvalidOid: not registered (any more) */
	int32		layout_id;		/* 0: not registered */
	bool		record_truncate;
	char	   *currency;		/* of amounts without one; NULL: none */
	Oid			activity;		/* table of activities; InvalidOid: none */
	struct varlena *activity_columns;	/* jsonb: part -> column of it */

	int			nkeys;
	AttrNumber *keys;
	AttrNumber *history_keys;
	AttrNumber	role[NUM_ROLES];	/* InvalidAttrNumber: no such column */
	int			nparts;
	MappedPart *parts;			/* roles and all others */

	/* of an adopted table, see application.c */
	struct Application *application;	/* NULL: not adopted */
	Datum		settings;		/* jsonb: tracked_table.application; 0: none */
	AttrNumber	close_date;		/* the column in the part expected_close_on */
	AttrNumber	since;			/* says when the stage was entered */
	TimestampTz adopted_at;		/* since when its past is known; DT_NOBEGIN: ever */

	int			npartkeys;
	AttrNumber *partkeys;		/* columns that decide the partition */
	bool		loose_key;		/* some of them are not part of the deal key */

	int			ntracked;
	TrackedColumn *tracked;
	AttrNumber	history_column[NUM_HISTORY_COLUMNS];
	TupleDesc	history_desc;	/* a copy */
	AttrNumber	history_episode;
	Oid			history_index;	/* unique index on (key, version), or invalid */
	bool		history_direct; /* may be written below the executor */

	/* made when first needed, by requirements.c */
	struct CompiledRule *rules;
	struct ExprContext *rule_context;
	struct _SPI_plan *activity_plan;
	struct _SPI_plan *episode_plan;
	struct _SPI_plan *pause_plan;
	struct _SPI_plan *past_plan;

	/* BEFORE ROW triggers that fire after ours, as 'a, b'; NULL: none */
	char	   *later_insert;
	char	   *later_update;
	char	   *later_delete;
} DealsTable;

extern void mapping_init(void);

/*
 * The description of a relation that our triggers fire on.  With need_history
 * it is an error if the table is not registered, and the history is locked
 * against changes of its shape until the end of the transaction.  The result
 * is valid until the end of the transaction, though perhaps outdated.
 */
extern DealsTable *deals_table(Relation rel, bool need_history);

/*
 * Open what a user gave as regclass, which may be a number that is no table's.
 */
extern Relation open_given_table(Oid relid, LOCKMODE mode);

/*
 * deals_table() for a function that was given the table by its user: with the
 * definitions locked, and an error if it is no deals table, or a partition.
 */
extern DealsTable *whole_deals_table(Relation rel);

/* do the row triggers of deals fire on this relation? */
extern bool has_deal_triggers(Relation rel);

/* 'deal 42' or 'deal (3,42)', for messages; palloc'd */
extern char *deal_label(const DealsTable *table, TupleDesc tupdesc,
						const Datum *values, const bool *nulls);

/* 'OPERATOR(pg_catalog.=)', the equality of a type, for SQL texts; palloc'd */
extern char *equality_of_type(Oid type);

/*
 * The column that a name stands for: one of the deals table's own, else the
 * one that plays the part of that name.  InvalidAttrNumber: none.
 */
extern AttrNumber deals_column(const DealsTable *table, TupleDesc tupdesc,
							   const char *name);

/*
 * Is an index only on the rows in which a text column has one value?  Which;
 * palloc'd.
 */
extern bool index_on_one_value(Relation index, AttrNumber *attnum, Datum *value);

/* to be called at the end of each transaction and aborted subtransaction */
extern void mapping_forget_locks(void);
extern void mapping_free_retired(void);

#endif							/* PIPELINES_MAPPING_H */
