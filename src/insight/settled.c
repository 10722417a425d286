/*-------------------------------------------------------------------------
 *
 * settled.c
 *	  Up to which instant the past can't change any more.
 *
 * Owns settled_at().  A change of a deal carries the instant at which its
 * transaction made its first change, and becomes visible when that commits:
 * so an answer of as_of() for an instant is final only when no transaction
 * that began before it is still writing.
 *
 * Invariant: whoever takes an instant for a change holds a lock on
 * pipelines.definition_lock before, and until the end of the transaction.  So
 * a writer that isn't among the holders will take its instant after we looked,
 * and one that is among them took it after its transaction began.
 *
 * It must never say an instant that is too late; where it can't know (a
 * prepared transaction, a backend that doesn't report, a standby) it says
 * NULL.  It must not need any privilege.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "compat.h"
#include "definitions/definitions.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(pipelines_settled_at);

/* how often a holder that has gone in the meantime is looked for again */
#define SETTLED_ATTEMPTS	10

typedef enum SettledResult
{
	SETTLED_KNOWN,
	SETTLED_UNKNOWN,			/* and will stay so */
	SETTLED_AGAIN				/* a holder has ended while we looked */
} SettledResult;

/* start of the running transaction of a backend; 0 when it has none */
static TimestampTz
transaction_start(int pid)
{
	int			count = pgstat_fetch_stat_numbackends();

	for (int i = 1; i <= count; i++)
	{
		LocalPgBackendStatus *entry = compat_local_beentry(i);

		if (entry != NULL && entry->backendStatus.st_procpid == pid)
			return entry->backendStatus.st_xact_start_timestamp;
	}
	return 0;
}

/*
 * Look once.  *settled comes in as the clock before the look, and goes out
 * as the start of the oldest writer, if that is earlier.
 */
static SettledResult
oldest_writer(Oid lock_relid, TimestampTz *settled)
{
	LockData   *locks = GetLockStatusData();

	/* after the locks: a holder that we see there is known here, or gone */
	compat_clear_backend_status();

	for (int i = 0; i < locks->nelements; i++)
	{
		LockInstanceData *lock = &locks->locks[i];
		TimestampTz start;

		if (lock->locktag.locktag_type != LOCKTAG_RELATION ||
			lock->locktag.locktag_field1 != MyDatabaseId ||
			lock->locktag.locktag_field2 != lock_relid)
			continue;
		/* readers (pg_dump) hold no more than this */
		if ((lock->holdMask & ~LOCKBIT_ON(AccessShareLock)) == 0)
			continue;
		/* a prepared transaction has no backend, and may commit any time */
		if (lock->pid == 0)
			return SETTLED_UNKNOWN;

		start = lock->pid == MyProcPid ? GetCurrentTransactionStartTimestamp() :
			transaction_start(lock->pid);
		if (start == 0)
			return SETTLED_AGAIN;
		if (start < *settled)
			*settled = start;
	}
	return SETTLED_KNOWN;
}

Datum
pipelines_settled_at(PG_FUNCTION_ARGS)
{
	Oid			namespace = get_namespace_oid("pipelines", true);

	/* the locks of the primary's writers are not known here */
	if (RecoveryInProgress())
		PG_RETURN_NULL();

	if (!OidIsValid(namespace) ||
		!OidIsValid(get_relname_relid("definition_lock", namespace)))
		PG_RETURN_TIMESTAMPTZ(GetCurrentTimestamp());

	for (int attempt = 0; attempt < SETTLED_ATTEMPTS; attempt++)
	{
		TimestampTz settled = GetCurrentTimestamp();

		switch (oldest_writer(definitions_relid("definition_lock"), &settled))
		{
			case SETTLED_KNOWN:
				PG_RETURN_TIMESTAMPTZ(settled);
			case SETTLED_UNKNOWN:
				PG_RETURN_NULL();
			case SETTLED_AGAIN:
				CHECK_FOR_INTERRUPTS();
				break;
		}
	}
	/* someone writes without saying since when (track_activities = off) */
	PG_RETURN_NULL();
}
