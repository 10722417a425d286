/*-------------------------------------------------------------------------
 *
 * pipelines.h
 *	  Settings of pipelines, readable from every module.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PIPELINES_H
#define PIPELINES_H

/* settings; the strings are never NULL, an empty one means 'not set' */
extern char *pipelines_reason;
extern char *pipelines_actor;
extern char *pipelines_batch;
extern char *pipelines_event_time;
extern int	pipelines_definition_wait;
extern bool pipelines_bypass;

#endif							/* PIPELINES_H */
