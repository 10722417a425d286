/*-------------------------------------------------------------------------
 *
 * texts.h
 *	  Texts that are equal where their bytes are, whatever their collation.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PIPELINES_TEXTS_H
#define PIPELINES_TEXTS_H

#include "postgres.h"

/* neither may be compressed or out of line */
static inline bool
texts_equal(const text *a, const text *b)
{
	Size		length = VARSIZE_ANY_EXHDR(a);

	return VARSIZE_ANY_EXHDR(b) == length && memcmp(VARDATA_ANY(a), VARDATA_ANY(b), length) == 0;
}

/* the same, with a string */
static inline bool
text_is(const text *value, const char *string)
{
	Size		length = strlen(string);

	return VARSIZE_ANY_EXHDR(value) == length && memcmp(VARDATA_ANY(value), string, length) == 0;
}

#endif							/* PIPELINES_TEXTS_H */
