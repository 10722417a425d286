/*-------------------------------------------------------------------------
 *
 * errors.h
 *	  The SQLSTATEs of pipelines.
 *
 * All of them lie in class 23 (integrity constraint violation), so that
 * drivers and ORMs that know nothing of us map a refused change to their
 * integrity error.  Misuse of a function is reported with PostgreSQL's own
 * codes and does not appear here.  README lists each code with its cause and
 * remedy; a code, once released, never changes its meaning.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PIPELINES_ERRORS_H
#define PIPELINES_ERRORS_H

#include "utils/elog.h"

/* the pipeline or stage does not exist, or the stage is not in the pipeline */
#define ERRCODE_PIPELINES_UNKNOWN_STAGE		MAKE_SQLSTATE('2', '3', 'S', '0', '1')
/* the pipeline or stage is archived: no deal may enter it any more */
#define ERRCODE_PIPELINES_ARCHIVED			MAKE_SQLSTATE('2', '3', 'S', '0', '2')
/* a rule of the pipeline refuses the move or the entry */
#define ERRCODE_PIPELINES_MOVE_REFUSED		MAKE_SQLSTATE('2', '3', 'S', '0', '3')
/* only the pipeline was changed, and nothing says which stage to go to */
#define ERRCODE_PIPELINES_NO_MAPPING		MAKE_SQLSTATE('2', '3', 'S', '0', '4')
/* the deal key or the partition key was changed */
#define ERRCODE_PIPELINES_KEY_CHANGED		MAKE_SQLSTATE('2', '3', 'S', '0', '5')
/* another trigger changed a row after it was judged */
#define ERRCODE_PIPELINES_ROW_ALTERED		MAKE_SQLSTATE('2', '3', 'S', '0', '6')
/* a definition can't be removed or redefined: deals or history refer to it */
#define ERRCODE_PIPELINES_IN_USE			MAKE_SQLSTATE('2', '3', 'S', '0', '7')
/* pipelines.event_time lies in the future or before the deal's last change */
#define ERRCODE_PIPELINES_EVENT_TIME		MAKE_SQLSTATE('2', '3', 'S', '0', '8')
/* the history has this version of the deal already */
#define ERRCODE_PIPELINES_VERSION_EXISTS	MAKE_SQLSTATE('2', '3', 'S', '0', '9')
/* the target pipeline belongs to another layout */
#define ERRCODE_PIPELINES_OTHER_LAYOUT		MAKE_SQLSTATE('2', '3', 'S', '1', '0')
/* history and past definitions are append only */
#define ERRCODE_PIPELINES_APPEND_ONLY		MAKE_SQLSTATE('2', '3', 'S', '1', '1')
/* events that import_history() can't accept */
#define ERRCODE_PIPELINES_IMPORT_REFUSED	MAKE_SQLSTATE('2', '3', 'S', '1', '2')
/* TRUNCATE of a table whose deletions must be remembered */
#define ERRCODE_PIPELINES_TRUNCATE_REFUSED	MAKE_SQLSTATE('2', '3', 'S', '1', '3')
/* an entry or exit rule, or what a closing requires, is not fulfilled */
#define ERRCODE_PIPELINES_RULE_NOT_FULFILLED MAKE_SQLSTATE('2', '3', 'S', '1', '4')
/* an activity that the stage demands was not done */
#define ERRCODE_PIPELINES_ACTIVITY_MISSING	MAKE_SQLSTATE('2', '3', 'S', '1', '5')
/* a reason must be given */
#define ERRCODE_PIPELINES_REASON_REQUIRED	MAKE_SQLSTATE('2', '3', 'S', '1', '6')
/* the deal is not in the stage that the caller expects it in */
#define ERRCODE_PIPELINES_NOT_AS_EXPECTED	MAKE_SQLSTATE('2', '3', 'S', '1', '7')
/* the application's column for the stage and ours say different things */
#define ERRCODE_PIPELINES_STAGES_DISAGREE	MAKE_SQLSTATE('2', '3', 'S', '1', '8')
/* the application's column for the stage has no value for that stage */
#define ERRCODE_PIPELINES_STAGE_UNWRITABLE	MAKE_SQLSTATE('2', '3', 'S', '1', '9')
/* what was closed in a locked fiscal period can't change, nor the period */
#define ERRCODE_PIPELINES_PERIOD_LOCKED		MAKE_SQLSTATE('2', '3', 'S', '2', '2')
/* the periods of a fiscal calendar overlap, leave gaps, or don't nest */
#define ERRCODE_PIPELINES_CALENDAR_BROKEN	MAKE_SQLSTATE('2', '3', 'S', '2', '3')

#endif							/* PIPELINES_ERRORS_H */
