/*-------------------------------------------------------------------------
 *
 * key_text.h
 *	  The key of a deal as one text.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PIPELINES_KEY_TEXT_H
#define PIPELINES_KEY_TEXT_H

/*
 * The values of n key columns in a text: of one column the text as it is, of
 * several a record literal such as '(3,"a b")'.  palloc'd.  Anything else is
 * an error.
 */
extern char **key_text_values(const char *deal, int n);

#endif							/* PIPELINES_KEY_TEXT_H */
