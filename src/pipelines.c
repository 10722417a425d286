/*-------------------------------------------------------------------------
 *
 * pipelines.c
 *	  Entry point: module magic, settings, initialisation of the modules.
 *
 * Owns the settings.  Must never do work of its own beyond that: each module
 * registers its callbacks in an xxx_init() that is called here once.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "calendar/calendar.h"
#include "compat.h"
#include "deals/deals.h"
#include "definitions/definitions.h"
#include "definitions/watched.h"
#include "fmgr.h"
#include "money/money.h"
#include "pipelines.h"
#include "utils/guc.h"

PG_MODULE_MAGIC;

char	   *pipelines_reason = NULL;
char	   *pipelines_actor = NULL;
char	   *pipelines_batch = NULL;
char	   *pipelines_event_time = NULL;
int			pipelines_definition_wait = 2000;
bool		pipelines_bypass = false;

void		_PG_init(void);

static void
define_text_setting(const char *name, const char *short_desc,
					const char *long_desc, char **variable)
{
	DefineCustomStringVariable(name, short_desc, long_desc, variable, "",
							   PGC_USERSET, 0, NULL, NULL, NULL);
}

void
_PG_init(void)
{
	define_text_setting("pipelines.reason",
						"Reason of the changes of deals that follow.",
						"Kept in the history; set it with SET LOCAL.",
						&pipelines_reason);
	define_text_setting("pipelines.actor",
						"Who makes the changes of deals that follow.",
						"Kept in the history; empty means the session user.",
						&pipelines_actor);
	define_text_setting("pipelines.batch",
						"Name of the batch that the changes of deals that follow belong to.",
						"Kept in the history.",
						&pipelines_batch);
	define_text_setting("pipelines.event_time",
						"Instant at which the changes of deals that follow happened.",
						"For imports by members of the role that owns the deals; empty means now.",
						&pipelines_event_time);
	DefineCustomIntVariable("pipelines.definition_wait",
							"How long a change of definitions waits for running changes of deals.",
							NULL,
							&pipelines_definition_wait,
							2000, 0, INT_MAX,
							PGC_USERSET, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomBoolVariable("pipelines.bypass",
							 "Bypasses the rules of pipelines for the changes of deals that follow.",
							 "For members of a pipeline's bypass role, who must give a reason in pipelines.reason; the history remembers it.",
							 &pipelines_bypass,
							 false,
							 PGC_USERSET, 0,
							 NULL, NULL, NULL);
	compat_reserve_guc_prefix("pipelines");

	watched_init();
	definitions_init();
	calendar_init();
	deals_init();
	rates_init();
}
