/*-------------------------------------------------------------------------
 *
 * conditions.c
 *	  Conditions over the columns of a deal.
 *
 * Owns the reading of what stands in entry_rule and exit_rule: a list of
 * columns that must be filled in, or a boolean expression; and of the
 * expressions of forecast types.  The invariant: a
 * condition that was read calls nothing but immutable functions of pg_catalog
 * and looks at nothing but the columns of one row.  Whoever defines a
 * pipeline must not run code as whoever moves a deal, so the text is walked
 * before anything in it is resolved, a quoted literal is turned into a constant
 * only where the input function of its type is known to be harmless, and the
 * result is walked once more.  No setting of the session has a say: the text
 * means the same to whoever defines it and to all who move deals.
 *
 * Must never evaluate a condition, nor look a name up anywhere but in
 * pg_catalog and among the columns.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "definitions/conditions.h"
#include "miscadmin.h"
#include "nodes/bitmapset.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_node.h"
#include "parser/parse_type.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/formatting.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

typedef struct Reading
{
	const char *text;
	const char *what;
	TupleDesc	desc;
	ColumnResolver resolve;
	void	   *arg;
	Bitmapset  *columns;
	bool		uses_generated;
	List	   *literals;		/* quoted ones, of char *: see check_raw() */
	bool		wants_value;	/* an expression, not a condition */
	bool		being_parsed;	/* by the grammar, which knows no more than the text */
} Reading;

/* positions that the parser reports are those in our text, not the client's */
static void
reading_error_callback(void *arg)
{
	const Reading *reading = (const Reading *) arg;
	int			position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery(psprintf("SELECT %s", reading->text));
	}
	if (reading->being_parsed && geterrcode() == ERRCODE_SYNTAX_ERROR)
		errdetail("The error is in %s.", reading->what);
	errcontext("%s: %s", reading->what, reading->text);
}

compat_noreturn static void
not_a_condition(const Reading *reading)
{
	if (reading->wants_value)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("%s is not one expression", reading->what),
				 errdetail("It is \"%s\".", reading->text),
				 errhint("Give a column, or one expression such as \"amount - cost\".")));
	ereport(ERROR,
			(errcode(ERRCODE_SYNTAX_ERROR),
			 errmsg("%s is neither a list of columns nor a condition", reading->what),
			 errdetail("It is \"%s\".", reading->text),
			 errhint("Give names of columns that must be filled in, such as \"amount, expected_close_on\", or one condition, such as \"amount > 0 AND quantity IS NOT NULL\".")));
}

compat_noreturn static void
not_allowed(const Reading *reading, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("%s uses more than %s may", reading->what,
					reading->wants_value ? "an expression" : "a condition"),
			 errdetail("%s", detail),
			 errhint("%s consists of columns of the deal, constants, and immutable functions and operators of pg_catalog.",
					 reading->wants_value ? "An expression" : "A condition")));
}

/* a name without a schema, or with pg_catalog */
static bool
is_catalog_name(const List *name)
{
	return list_length(name) == 1 ||
		(list_length(name) == 2 && strcmp(strVal(linitial(name)), "pg_catalog") == 0);
}

static bool
is_catalog_type(Oid typid)
{
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(typid));
	bool		result = HeapTupleIsValid(tuple) &&
		((Form_pg_type) GETSTRUCT(tuple))->typnamespace == PG_CATALOG_NAMESPACE;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return result;
}

static void
check_type_name(const Reading *reading, TypeName *name)
{
	Type		type;
	Oid			typid;

	if (name->setof || name->pct_type || !is_catalog_name(name->names))
		not_allowed(reading, psprintf("Type %s is not one of pg_catalog.",
									  TypeNameToString(name)));
	type = LookupTypeName(NULL, name, NULL, false);
	if (type == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("type \"%s\" does not exist in pg_catalog", TypeNameToString(name))));
	typid = typeTypeId(type);
	ReleaseSysCache(type);
	if (!is_catalog_type(typid))
		not_allowed(reading, psprintf("Type %s is not one of pg_catalog.",
									  TypeNameToString(name)));
}

/*
 * Before anything is resolved: only what the grammar of a plain expression
 * makes.  What is not listed is refused.
 */
static bool
check_raw(Node *node, void *context)
{
	const Reading *reading = (const Reading *) context;

	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_ColumnRef:
			/* the columns themselves are looked up later */
			if (list_length(((ColumnRef *) node)->fields) != 1 ||
				!IsA(linitial(((ColumnRef *) node)->fields), String))
				not_allowed(reading, "A column is named without a table.");
			return false;
		case T_A_Const:
			/* which type it is read as must be judged first: coerce_literal() */
			if (nodeTag(&((A_Const *) node)->val) == T_String)
			{
				Reading    *owner = unconstify(Reading *, reading);
				int			location = ((A_Const *) node)->location;
				ParamRef   *place = (ParamRef *) node;

				StaticAssertStmt(sizeof(ParamRef) <= sizeof(A_Const),
								 "a parameter must fit where a constant was");
				owner->literals = lappend(owner->literals, strVal(&((A_Const *) node)->val));
				place->type = T_ParamRef;
				place->number = list_length(owner->literals);
				place->location = location;
			}
			return false;
		case T_A_Expr:
			if (!is_catalog_name(((A_Expr *) node)->name))
				not_allowed(reading, psprintf("Operator %s is not one of pg_catalog.",
											  NameListToString(((A_Expr *) node)->name)));
			break;
		case T_FuncCall:
			{
				FuncCall   *call = (FuncCall *) node;

				if (!is_catalog_name(call->funcname))
					not_allowed(reading, psprintf("Function %s() is not one of pg_catalog.",
												  NameListToString(call->funcname)));
				if (call->agg_order != NIL || call->agg_filter != NULL || call->over != NULL ||
					call->agg_within_group || call->agg_star || call->agg_distinct)
					not_allowed(reading, psprintf("%s() is called as an aggregate or a window function.",
												  NameListToString(call->funcname)));
			}
			break;
		case T_TypeCast:
			check_type_name(reading, ((TypeCast *) node)->typeName);
			return check_raw(((TypeCast *) node)->arg, context);
		case T_CollateClause:
			if (!is_catalog_name(((CollateClause *) node)->collname))
				not_allowed(reading, "Its collation is not one of pg_catalog.");
			return check_raw(((CollateClause *) node)->arg, context);
		case T_BoolExpr:
		case T_NullTest:
		case T_BooleanTest:
		case T_CaseExpr:
		case T_CaseWhen:
		case T_CoalesceExpr:
		case T_MinMaxExpr:
		case T_A_ArrayExpr:
		case T_List:
			break;
		case T_SubLink:
			not_allowed(reading, "It contains a query.");
		case T_SQLValueFunction:
			not_allowed(reading, "It depends on the clock, the user or the session.");
		default:
			not_allowed(reading, "It contains something that is not allowed there.");
	}
	return raw_expression_tree_walker(node, check_raw, context);
}

/* a name in the text: a column */
static Node *
resolve_column(ParseState *pstate, ColumnRef *reference)
{
	Reading    *reading = (Reading *) pstate->p_ref_hook_state;
	const char *name = strVal(linitial(reference->fields));
	AttrNumber	attnum = reading->resolve(name, reading->arg);
	Form_pg_attribute att;

	if (attnum == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" does not exist", name),
				 errdetail("It is named in %s.", reading->what),
				 errhint("%s looks at columns of the deals table, by their names or by ours (amount, owner, ...).",
						 reading->wants_value ? "An expression" : "A condition")));
	att = TupleDescAttr(reading->desc, attnum - 1);
	if (att->attgenerated == 'v')
		not_allowed(reading, psprintf("Column \"%s\" is a virtual generated column.", name));
	reading->columns = bms_add_member(reading->columns, attnum);
	reading->uses_generated |= att->attgenerated != '\0';
	return (Node *) makeVar(1, attnum, att->atttypid, att->atttypmod, att->attcollation, 0);
}

/* a quoted literal, as long as nothing says of which type */
static Node *
literal_reference(ParseState *pstate, ParamRef *reference)
{
	Param	   *param = makeNode(Param);

	param->paramkind = PARAM_EXTERN;
	param->paramid = reference->number;
	param->paramtype = UNKNOWNOID;
	param->paramtypmod = -1;
	param->location = reference->location;
	return (Node *) param;
}

/*
 * Does reading a literal of this type run nothing but code of the server?
 * Not where a domain lies within, or a type whose input somebody else wrote.
 */
static bool
has_harmless_input(Oid typid)
{
	Oid			element;

	typid = getBaseType(typid);
	element = get_element_type(typid);
	if (OidIsValid(element))
		typid = element;
	return is_catalog_type(typid) || type_is_enum(typid);
}

/* 'today' would be the day on which the condition was read */
static bool
looks_at_clock(Oid typid, const char *literal)
{
	static const char *const words[] = {"now", "today", "tomorrow", "yesterday"};
	Oid			element;
	char		category;
	bool		preferred;

	typid = getBaseType(typid);
	element = get_element_type(typid);
	if (!OidIsValid(element))
		element = get_range_subtype(typid);
	get_type_category_preferred(OidIsValid(element) ? element : typid, &category, &preferred);
	if (category != TYPCATEGORY_DATETIME)
		return false;
	for (int i = 0; i < (int) lengthof(words); i++)
	{
		if (strstr(asc_tolower(literal, strlen(literal)), words[i]) != NULL)
			return true;
	}
	return false;
}

static Node *
coerce_literal(ParseState *pstate, Param *param, Oid type, int32 typmod, int location)
{
	Reading    *reading = (Reading *) pstate->p_ref_hook_state;
	char	   *literal = (char *) list_nth(reading->literals, param->paramid - 1);
	Const	   *value;

	if (!has_harmless_input(type))
		not_allowed(reading, psprintf("The literal '%s' would be read as %s, which is not a type of pg_catalog.",
									  literal, format_type_be(type)));
	if (looks_at_clock(type, literal))
		not_allowed(reading, "It depends on the clock, the user or the session.");
	value = makeConst(UNKNOWNOID, -1, InvalidOid, -2, CStringGetDatum(literal), false, false);
	value->location = param->location;
	return coerce_type(pstate, (Node *) value, UNKNOWNOID, type, typmod,
					   COERCION_IMPLICIT, COERCE_IMPLICIT_CAST, location);
}

static bool
is_foreign_function(Oid funcid, void *context)
{
	if (get_func_namespace(funcid) != PG_CATALOG_NAMESPACE ||
		func_volatile(funcid) != PROVOLATILE_IMMUTABLE)
	{
		*(Oid *) context = funcid;
		return true;
	}
	return false;
}

/*
 * After everything was resolved: casts and operators may lead to functions
 * that no name in the text showed.
 */
static bool
check_resolved(Node *node, void *context)
{
	const Reading *reading = (const Reading *) context;
	Oid			funcid = InvalidOid;

	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_Var:
		case T_Const:
			return false;
		case T_MinMaxExpr:
			/* compares by the type's own function, which nobody names */
			if (!is_catalog_type(getBaseType(exprType(node))))
				not_allowed(reading, "GREATEST and LEAST work on types of pg_catalog only.");
			break;
		case T_FuncExpr:
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
		case T_ScalarArrayOpExpr:
		case T_BoolExpr:
		case T_RelabelType:
		case T_CoerceViaIO:
		case T_ArrayCoerceExpr:
		case T_CaseExpr:
		case T_CaseWhen:
		case T_CaseTestExpr:
		case T_ArrayExpr:
		case T_CoalesceExpr:
		case T_NullTest:
		case T_BooleanTest:
		case T_CollateExpr:
		case T_List:
			break;
		default:
			not_allowed(reading, "It contains a conversion or comparison that may run other code.");
	}
	if (check_functions_in_node(node, is_foreign_function, &funcid))
		not_allowed(reading, psprintf("Function %s is not an immutable one of pg_catalog.",
									  format_procedure(funcid)));
	return expression_tree_walker(node, check_resolved, context);
}

/* what stands in the select list of 'SELECT <text>'; NIL if anything else is there */
static List *
bare_select_list(Reading *reading, const char *command)
{
	List	   *statements;
	SelectStmt *select;
	ListCell   *lc;

	reading->being_parsed = true;
	statements = compat_raw_parser(command);
	reading->being_parsed = false;
	if (list_length(statements) != 1)
		return NIL;
	select = (SelectStmt *) linitial_node(RawStmt, statements)->stmt;
	if (!IsA(select, SelectStmt) || select->op != SETOP_NONE || select->targetList == NIL ||
		select->distinctClause != NIL || select->intoClause != NULL ||
		select->fromClause != NIL || select->whereClause != NULL ||
		select->groupClause != NIL || select->havingClause != NULL ||
		select->windowClause != NIL || select->valuesLists != NIL ||
		select->sortClause != NIL || select->limitOffset != NULL ||
		select->limitCount != NULL || select->lockingClause != NIL ||
		select->withClause != NULL)
		return NIL;
	foreach(lc, select->targetList)
	{
		ResTarget  *target = lfirst_node(ResTarget, lc);

		if (target->name != NULL || target->indirection != NIL)
			return NIL;
	}
	return select->targetList;
}

/* the same, of nothing but what may be in a condition */
static List *
select_list(Reading *reading)
{
	List	   *targets = bare_select_list(reading, psprintf("SELECT %s", reading->text));
	ListCell   *lc;

	if (targets == NIL)
		not_a_condition(reading);
	foreach(lc, targets)
		(void) check_raw(lfirst_node(ResTarget, lc)->val, reading);
	return targets;
}

/* names only; a single one of type boolean is a condition */
static bool
is_column_list(const Reading *reading, const List *targets)
{
	const ListCell *lc;

	foreach(lc, targets)
	{
		ResTarget  *target = (ResTarget *) lfirst(lc);

		if (!IsA(target->val, ColumnRef))
			return false;
	}
	if (list_length(targets) == 1)
	{
		ColumnRef  *reference = (ColumnRef *) ((ResTarget *) linitial(targets))->val;
		AttrNumber	attnum = reading->resolve(strVal(linitial(reference->fields)), reading->arg);

		return attnum == InvalidAttrNumber ||
			getBaseType(TupleDescAttr(reading->desc, attnum - 1)->atttypid) != BOOLOID;
	}
	return true;
}

/*
 * Until the nest level ends: nothing but pg_catalog is looked at, temporary
 * types come last, and whoever moves a deal can't make a literal mean something
 * else.
 */
static void
settle_settings(void)
{
	static const char *const settings[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"datestyle", "ISO, YMD"},
		{"intervalstyle", "postgres"},
		{"timezone", "UTC"},
		{"lc_monetary", "C"},
		{"standard_conforming_strings", "on"},
		{"backslash_quote", "safe_encoding"},
		{"transform_null_equals", "off"},
		{"array_nulls", "on"},
		{"xmloption", "content"}
	};

	for (int i = 0; i < (int) lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1], PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
}

static ParseState *
begin_parse(Reading *reading)
{
	ParseState *pstate = make_parsestate(NULL);

	settle_settings();
	pstate->p_pre_columnref_hook = resolve_column;
	pstate->p_paramref_hook = literal_reference;
	pstate->p_coerce_param_hook = coerce_literal;
	pstate->p_ref_hook_state = reading;
	return pstate;
}

/*
 * Is this nothing but the text form of a value of a type of PostgreSQL's own?
 * That may depend on settings, as of a column that is shown, and runs nobody's
 * code.
 */
static bool
is_written_out(Node *result, Node *expr, Oid type)
{
	return IsA(result, CoerceViaIO) && (Node *) ((CoerceViaIO *) result)->arg == expr &&
		exprType(result) == TEXTOID && is_catalog_type(type) && get_typtype(type) == TYPTYPE_BASE;
}

/*
 * An expression, as a value of the type that is wanted.  Not planned: it can
 * be turned into text again.
 */
Expr *
expression_parse(const char *text, TupleDesc desc, ColumnResolver resolve, void *arg,
				 const char *what, Oid wanted)
{
	Reading		reading = {text, what, desc, resolve, arg, NULL, false, NIL, true, false};
	ErrorContextCallback callback;
	int			nest_level = NewGUCNestLevel();
	ParseState *pstate;
	List	   *targets;
	Node	   *expr;
	Node	   *result;
	Oid			type;

	callback.callback = reading_error_callback;
	callback.arg = &reading;
	callback.previous = error_context_stack;
	error_context_stack = &callback;

	pstate = begin_parse(&reading);
	targets = select_list(&reading);
	if (list_length(targets) != 1)
		not_a_condition(&reading);
	expr = transformExpr(pstate, ((ResTarget *) linitial(targets))->val,
						 EXPR_KIND_CHECK_CONSTRAINT);
	type = exprType(expr);
	result = coerce_to_target_type(pstate, expr, type, wanted, -1,
								   COERCION_ASSIGNMENT, COERCE_EXPLICIT_CAST, -1);
	if (result == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("%s is of type %s, not %s", what, format_type_be(type),
						format_type_be(wanted)),
				 errhint("Give an expression of type %s.", format_type_be(wanted))));
	assign_expr_collations(pstate, result);
	(void) check_resolved(is_written_out(result, expr, type) ? expr : result, &reading);

	free_parsestate(pstate);
	AtEOXact_GUC(true, nest_level);
	error_context_stack = callback.previous;
	return (Expr *) result;
}

Condition *
condition_parse(const char *text, TupleDesc desc, ColumnResolver resolve, void *arg,
				const char *what)
{
	Reading		reading = {text, what, desc, resolve, arg, NULL, false, NIL, false, false};
	ErrorContextCallback callback;
	int			nest_level = NewGUCNestLevel();
	ParseState *pstate;
	Condition  *condition = palloc0(sizeof(Condition));
	List	   *targets;
	int			column = -1;

	callback.callback = reading_error_callback;
	callback.arg = &reading;
	callback.previous = error_context_stack;
	error_context_stack = &callback;

	pstate = begin_parse(&reading);
	targets = select_list(&reading);
	if (is_column_list(&reading, targets))
	{
		ListCell   *lc;

		/* in the order in which they are named */
		condition->columns = palloc(sizeof(AttrNumber) * list_length(targets));
		foreach(lc, targets)
		{
			Var		   *var = (Var *) resolve_column(pstate, (ColumnRef *) ((ResTarget *) lfirst(lc))->val);

			if (condition->ncolumns < bms_num_members(reading.columns))
				condition->columns[condition->ncolumns++] = var->varattno;
		}
	}
	else
	{
		Node	   *expr;

		if (list_length(targets) != 1)
			not_a_condition(&reading);
		expr = transformExpr(pstate, ((ResTarget *) linitial(targets))->val,
							 EXPR_KIND_CHECK_CONSTRAINT);
		if (exprType(expr) != BOOLOID && exprType(expr) != UNKNOWNOID &&
			getBaseType(exprType(expr)) != BOOLOID)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("%s is of type %s, not boolean", what, format_type_be(exprType(expr))),
					 errhint("Give names of columns, or a condition that is true or false.")));
		expr = coerce_to_boolean(pstate, expr, "RULE");
		assign_expr_collations(pstate, expr);
		(void) check_resolved(expr, &reading);
		condition->expr = expression_planner((Expr *) expr);
	}

	if (condition->columns == NULL)
		condition->columns = palloc(sizeof(AttrNumber) * (bms_num_members(reading.columns) + 1));
	while (condition->expr != NULL &&
		   (column = bms_next_member(reading.columns, column)) >= 0)
		condition->columns[condition->ncolumns++] = column;
	condition->uses_generated = reading.uses_generated;

	free_parsestate(pstate);
	AtEOXact_GUC(true, nest_level);
	error_context_stack = callback.previous;
	return condition;
}

void
expression_check(const char *text, const char *what, const char *example)
{
	Reading		reading = {text, what, NULL, NULL, NULL, NULL, false, NIL, true, false};
	ErrorContextCallback callback;

	callback.callback = reading_error_callback;
	callback.arg = &reading;
	callback.previous = error_context_stack;
	error_context_stack = &callback;

	/* by itself, so that no parenthesis closes ours, and within them, without a semicolon */
	if (list_length(bare_select_list(&reading, psprintf("SELECT %s", text))) != 1 ||
		list_length(bare_select_list(&reading, psprintf("SELECT (%s\n)", text))) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("%s is not one expression", what),
				 errdetail("It is \"%s\".", text),
				 errhint("Give an expression such as %s.", example)));
	error_context_stack = callback.previous;
}
