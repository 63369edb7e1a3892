"""Attacks on the console: each one is refused, bounded or harmless, and none reads or writes anything outside."""

from __future__ import annotations

import re

import duckdb
import pytest
from tasks.console.conftest import SECRET, Arena

from selfexplore_tasks.console.errors import QueryRefused
from selfexplore_tasks.console.functions import FUNCTIONS, TABLE_FUNCTIONS
from selfexplore_tasks.console.limits import MIB, QUERY_CHARACTERS, Limits
from selfexplore_tasks.console.run import run_query
from selfexplore_tasks.console.statements import DUCKDBS_OWN

# <root> is the store, <outside> a folder beside it with files canary.*, <part> a part of the experiment asked for,
# <unfinished> one beside it that no manifest names, <other_part> one of an experiment not asked for.
REFUSED = {
    # Statements that are no reading.
    "copy a table": "copy problems to '<outside>/out.csv'",
    "copy a query": "copy (select 1) to '<outside>/out.parquet' (format parquet)",
    "copy over a part": "copy (select 1 as a) to '<part>' (format parquet)",
    "copy in place over a part": "copy (select 1 as a) to '<part>' (format parquet, use_tmp_file false)",
    "copy partitioned": "copy (select 1 as a) to '<root>/tables' (format parquet, partition_by (a))",
    "copy from": "copy experiments from '<outside>/canary.csv'",
    "copy a database": "copy from database memory to system",
    "copy to a pipe": "copy (select 1) to '/dev/stdout'",
    "export": "export database '<outside>/out'",
    "import": "import database '<outside>'",
    "attach": "attach '<outside>/new.duckdb' as other",
    "attach memory": "attach ':memory:' as other",
    "detach": "detach memory",
    "use": "use system",
    "install": "install httpfs",
    "install from": "install httpfs from 'http://127.0.0.1:1'",
    "load": "load '<outside>/canary.txt'",
    "update extensions": "update extensions",
    "set": "set enable_external_access = true",
    "set global": "set global lock_configuration = false",
    "set a directory": "set home_directory = '<outside>'",
    "set a variable": "set variable x = 1",
    "set a variable by a file": "set variable x = (select content from read_text('<outside>/canary.txt'))",
    "reset": "reset lock_configuration",
    "pragma": "pragma enable_profiling",
    "pragma with a file": "pragma profiling_output = '<outside>/out.json'",
    "pragma that shows": "pragma table_info('problems')",
    "pragma database list": "pragma database_list",
    "call": "call pragma_version()",
    "call a reader": "call read_text('<outside>/canary.txt')",
    "checkpoint": "checkpoint",
    "force checkpoint": "force checkpoint",
    "vacuum": "vacuum",
    "analyze": "analyze",
    "create a table": "create table mine as select 1",
    "create a temporary table": "create temp table mine as select 1",
    "create a view": "create view mine as select 1",
    "replace a view": "create or replace view problems as select 1",
    "create a macro": "create macro f(x) as x",
    "create a table macro": "create macro f() as table from read_text('<outside>/canary.txt')",
    "create a function": "create function f(x) as x + 1",
    "create a schema": "create schema mine",
    "create a sequence": "create sequence s",
    "create a type": "create type t as enum ('a')",
    "create an index": "create index i on experiments (experiment)",
    "create a secret": "create secret (type s3, key_id 'a', secret 'b')",
    "drop": "drop view problems",
    "alter": "alter table experiments add column x integer",
    "comment": "comment on view problems is 'x'",
    "truncate": "truncate experiments",
    "insert": "insert into experiments select * from experiments",
    "update": "update experiments set recipe = ''",
    "delete": "delete from experiments",
    "merge": "merge into experiments using experiments as e on false when not matched then insert",
    "begin": "begin transaction",
    "commit": "commit",
    "rollback": "rollback",
    "prepare": "prepare p as select 1",
    "execute": "execute p",
    "deallocate": "deallocate p",
    "a parameter": "select $1",
    "a question mark": "select ?",
    "a named parameter": "select $name",
    # One statement hidden in another.
    "two statements": "select 1; select 2",
    "a second that writes": "select 1; copy problems to '<outside>/out.csv'",
    "a second after a comment": "select 1 -- ;\n; drop view problems",
    "a first that sets": "set enable_external_access = true; select 1",
    "insert in a cte": "with x as (insert into experiments select * from experiments returning 1) from x",
    "update in a cte": "with x as (update experiments set recipe = '' returning 1) from x",
    "delete in a cte": "with x as (delete from experiments returning *) from x",
    "copy in a cte": "with x as (copy (select 1) to '<outside>/out.csv') from x",
    "copy over a part in a cte": "with x as (copy (select 1 as a) to '<part>' (format parquet)) from x",
    "copy in an unused cte": "with x as (copy (select 1) to '<outside>/out.csv') select 1",
    "copy in a nested cte": "select * from (with x as (copy (select 1) to '<outside>/out.csv') from x)",
    "copy in a cte of a subquery": "select (with x as (copy (select 1) to '<outside>/out.csv') select 1 from x)",
    "copy in a described cte": "describe with x as (copy (select 1) to '<outside>/out.csv') from x",
    "copy in a summarized cte": "summarize with x as (copy (select 1) to '<outside>/out.csv') from x",
    "copy in a recursive cte": (
        "with recursive x as (copy (select 1) to '<outside>/out.csv'), y as (select 1 union all from y) from y"
    ),
    "copy in a materialized cte": "with x as materialized (copy (select 1) to '<outside>/out.csv') from x",
    "explain analyze": "explain analyze select 1",
    "explain analyze copy": "explain analyze copy problems to '<outside>/out.csv'",
    "explain analyze copy over a part": (
        "explain analyze copy (select 1) to '<part>' (format parquet, use_tmp_file false)"
    ),
    "explain analyze in capitals": "EXPLAIN\n\tANALYZE copy problems to '<outside>/out.csv'",
    "explain analyze after a comment": "explain /* */ analyze copy problems to '<outside>/out.csv'",
    "explain analyze after a line comment": "explain -- x\nanalyze copy problems to '<outside>/out.csv'",
    "a comment before explain analyze": "/* */ explain analyze copy problems to '<outside>/out.csv'",
    "explain with options": "explain (analyze) copy problems to '<outside>/out.csv'",
    "explain copy": "explain copy problems to '<outside>/out.csv'",
    "explain two": "explain select 1; copy problems to '<outside>/out.csv'",
    "explain a cte that copies": "explain with x as (copy (select 1) to '<outside>/out.csv') from x",
    "describe copy": "describe copy problems to '<outside>/out.csv'",
    "show breaking out": "show tables); copy problems to '<outside>/out.csv'; from (select 1",
    "pivot without values": "pivot problems on split",
    # Files as tables.
    "a file as a table": "from '<outside>/canary.csv'",
    "a parquet file as a table": "from '<outside>/canary.parquet'",
    "a json file as a table": "from '<outside>/canary.json'",
    "a file in quotes": 'select * from "<outside>/canary.csv"',
    "a file that a cte is named like": 'with "<outside>/canary.csv" as (select 1) from "<outside>/canary.csv"',
    "a system file": "from '/etc/passwd'",
    "the memory of the process": "from '/proc/self/environ'",
    "a relative file": "from 'canary.csv'",
    "a pattern": "from '<root>/tables/*/*/*/*.parquet'",
    "an own part": "from '<part>'",
    "another experiment's part": "from '<other_part>'",
    "an unfinished part": "from '<unfinished>'",
    "an address": "from 'http://127.0.0.1:1/x.csv'",
    "an s3 address": "from 's3://bucket/x.parquet'",
    "a file described": "describe '<outside>/canary.csv'",
    "a file summarized": "summarize '<outside>/canary.csv'",
    "a file shown": "show '<outside>/canary.csv'",
    "a file in a join": "from problems join '<outside>/canary.csv' on true",
    "a file in a subquery": "select (select max(a) from '<outside>/canary.csv')",
    "a file in exists": "select 1 where exists (from '<outside>/canary.csv')",
    "a file in a union": "select 'x' union all from '<outside>/canary.csv'",
    "a file in a lambda": "select list_transform([1], lambda x: (select max(a) from '<outside>/canary.csv'))",
    "a file pivoted": "from (pivot '<outside>/canary.csv' on a in ('x'))",
    "a duckdb file": "from '<root>/selfexplore.duckdb'",
    "python's variable": "from QUERY_CHARACTERS",
    # Functions that read files.
    "read_csv": "from read_csv('<outside>/canary.csv')",
    "read_csv_auto": "from read_csv_auto('<outside>/canary.csv')",
    "sniff_csv": "from sniff_csv('<outside>/canary.csv')",
    "read_text": "select content from read_text('<outside>/canary.txt')",
    "read_blob": "select content from read_blob('<outside>/canary.txt')",
    "read_json": "from read_json('<outside>/canary.json')",
    "read_json_objects": "from read_json_objects('<outside>/canary.json')",
    "read_ndjson": "from read_ndjson('<outside>/canary.json')",
    "read_parquet": "from read_parquet('<outside>/canary.parquet')",
    "read_parquet of another": "from read_parquet('<other_part>')",
    "read_parquet of an unfinished part": "from read_parquet('<unfinished>')",
    "read_parquet of an own part": "from read_parquet('<part>')",
    "parquet_scan": "from parquet_scan('<other_part>')",
    "parquet_metadata": "from parquet_metadata('<other_part>')",
    "parquet_schema": "from parquet_schema('<other_part>')",
    "parquet_kv_metadata": "from parquet_kv_metadata('<part>')",
    "read_duckdb": "from read_duckdb('<root>/selfexplore.duckdb')",
    "glob": "from glob('<root>/**')",
    "read_text as a scalar": "select read_text('<outside>/canary.txt')",
    "read_text as a method": "select ('<outside>/canary.txt').read_text()",
    "read_text in capitals": "select * from READ_TEXT('<outside>/canary.txt')",
    "read_text in quotes": "select * from \"read_text\"('<outside>/canary.txt')",
    "read_text by schema": "select * from main.read_text('<outside>/canary.txt')",
    "read_text in a lateral join": "from problems, lateral read_text('<outside>/canary.txt')",
    "read_text in an in": "select 1 where 'x' in (select content from read_text('<outside>/canary.txt'))",
    "read_text behind unicode": "select * from \uff52ead_text('<outside>/canary.txt')",
    # Functions that run SQL, read memory, settings or the environment.
    "query": "from query('select 1')",
    "query a table": "from query_table('problems')",
    "query tables": "from query_table(['problems', 'stages'])",
    "execute serialized sql": "from json_execute_serialized_sql(json_serialize_sql('select 1'))",
    "serialize": "select json_serialize_sql('select 1')",
    "serialize a plan": "select json_serialize_plan('select 1')",
    "scan memory": "from arrow_scan(1::pointer, 2::pointer, 3::pointer)",
    "scan pandas": "from pandas_scan(1::pointer)",
    "scan a table by function": "from seq_scan('experiments')",
    "call python": "from python_map_function(1::pointer)",
    "getenv": "select getenv('HOME')",
    "a setting": "select current_setting('allowed_paths')",
    "a setting by method": "select 'allowed_paths'.current_setting()",
    "settings": "from duckdb_settings()",
    "settings as a view": "select * from duckdb_settings",
    "pg_settings": "from pg_catalog.pg_settings",
    "secrets": "from duckdb_secrets()",
    "which secret": "from which_secret('s3://x', 's3')",
    "a variable": "select getvariable('experiment')",
    "variables": "from duckdb_variables()",
    "variables shown": "show variables",
    "extensions": "from duckdb_extensions()",
    "databases": "from duckdb_databases()",
    "the text of views": "select sql from duckdb_views()",
    "the text of views as a table": "from duckdb_views",
    "the text of views by postgres": "from pg_catalog.pg_views",
    "the text of views by the standard": "from information_schema.views",
    "the text of a view": "select pg_get_viewdef(1)",
    "sqlite_master": "from sqlite_master",
    "temporary files": "from duckdb_temporary_files()",
    "memory": "from duckdb_memory()",
    "the file cache": "from duckdb_external_file_cache()",
    "logs": "from duckdb_logs()",
    "start logging": "from enable_logging('QueryLog')",
    "write a log": "select write_log('x')",
    "start profiling": "from enable_profiling()",
    "checkpoint by function": "from force_checkpoint()",
    "storage": "from pragma_storage_info('experiments')",
    "the platform": "from pragma_platform()",
    **{
        f"{view} while a subquery is named so": f"from {view} where exists (with {view} as (select 1) from {view})"
        for view in ("pg_settings", "duckdb_views", "duckdb_logs", "sqlite_master", "pg_prepared_statements")
    },
    "a view named like a subquery elsewhere": (
        "select * from (with DuckDB_Databases as (select 1) from duckdb_databases), system.duckdb_databases"
    ),
    "a view that the same list names": "with pg_settings as (from pg_settings) from pg_settings",
    "a view that a later subquery is named like": (
        "with a as (from pg_settings), pg_settings as (select 1) from a, pg_settings"
    ),
    "a view that a recursion is named like": (
        "with recursive pg_settings as (from pg_settings union all from pg_settings) from pg_settings"
    ),
    "a qualified view that a subquery is named like": "with pg_settings as (select 1) from pg_catalog.pg_settings",
    "a hidden table that a subquery is named like": "with problems as (select 1) from layout.problems",
    "a name out of its scope": "select (with x as (select 1 as a) select a from x), * from x",
    "a name before its place": "with a as (from b), b as (select 1) from a",
    "a qualified name of a subquery": "with x as (select 1) from main.x",
    "a histogram of a view": "from histogram('pg_settings', setting)",
    "a histogram of the text of views": "from histogram('duckdb_views', sql)",
    "a histogram of an own part": "from histogram('<part>', question)",
    "a histogram of a table": "from histogram_values(problems, question)",
    "a histogram in a lateral join": "from problems, lateral histogram('pg_settings', setting)",
    "parsed logs": "from duckdb_logs_parsed('QueryLog')",
    "profiling settings": "from duckdb_profiling_settings()",
    "the hidden schema": "from layout.problems",
    "another catalogue": "from system.main.duckdb_views",
    "the server's address": "select inet_server_addr()",
    "a sequence": "select nextval('s')",
    "sleep": "select sleep_ms(60000)",
    "sleep as postgres": "select pg_sleep(60)",
    "test types": "from test_all_types()",
    "an external resource": "from create_external_resource('x')",
    # Texts that are no query.
    "nothing": "",
    "spaces": "  \n ",
    "a comment": "-- nothing",
    "semicolons": ";;;",
    "nonsense": "selec 1",
    "a NUL": "select 1\0; drop view problems",
    "half a surrogate pair": "select '\ud800'",
    "too long": f"select '{'x' * QUERY_CHARACTERS}'",
    "nested brackets": f"select {'(' * 9_000}1{')' * 9_000}",
    "nested lists": f"select {'[' * 9_000}{']' * 9_000}",
    "nested subqueries": f"{'select * from (' * 1_200}select 1{')' * 1_200}",
    "an unknown table": "from nowhere",
    "an unknown function": "select nowhere(1)",
}
BOUNDED = {
    "an endless recursion": "with recursive t as (select 1 as i union all select i + 1 from t) select count(*) from t",
    "a recursion that doubles": "with recursive t as (select 1 as i union all select a.i from t as a, range(2)) from t",
    "a 10 GB cross join": "select a.range, b.range, repeat('x', 100) from range(100000000) as a, range(100000000) as b",
    "a sorted cross join": "from range(1000000) as a, range(1000000) as b order by a.range + b.range",
    "a count that needs memory": "select count(distinct hash(a.range, b.range)) from range(100000) a, range(10000) b",
    "a cell of 1 GB": "select repeat('x', 1000000000)",
    "a cell of 3 GB": "select repeat('x', 3000000000)",
    "the length of 3 GB": "select length(repeat('x', 3000000000))",
    "many cells of 100 MB": "select repeat('x', 100000000) from range(100)",
    "one string of all": "select length(string_agg(repeat('x', 10000000), ',')) from range(1000)",
    "a list of all": "select list(range) from range(1000000000)",
    "a long list": "select len(range(2000000000))",
    "a reduction": "select list_reduce(range(100000000), lambda x, y: x + y)",
    "a transformation": "select list_transform(range(50000000), lambda x: repeat('x', 1000))",
    "an edit distance": "select levenshtein(repeat('a', 200000), repeat('b', 200000))",
    "another edit distance": "select damerau_levenshtein(repeat('a', 50000), repeat('b', 50000))",
    "similar texts": "select jaro_winkler_similarity(repeat('ab', 500000), repeat('ba', 500000))",
    "a regular expression": "select regexp_matches(repeat('a', 20000000), '(a|a)*(a|a)*b')",
    "a repeated regular expression": "select regexp_matches('a', '((((a{100}){100}){100}){100})')",
    "padding": "select lpad('x', 2000000000, 'y')",
    "deep json": "select json_extract(repeat('[', 1000000) || repeat(']', 1000000), '$')",
    "much json": "select json_group_array(repeat('x', 1000)) from range(10000000)",
    "a format": "select printf('%2000000000d', 1)",
    "a huge series": "select count(*) from generate_series(1, 9000000000000000000)",
    "a sort of everything": "from range(1000000000000) order by random()",
    "a window over everything": "select sum(range) over (order by range desc) from range(1000000000)",
    "quantiles": "select quantile_cont(random(), 0.5) from range(1000000000)",
    "unnested lists": "select unnest(range(1000000)) from range(1000000)",
    "a large histogram": "select histogram(range) from range(100000000)",
    "a bitstring": "select bitstring('1', 2000000000)",
    "many columns": f"select {', '.join(f'{n} as c{n}' for n in range(1000))} from range(100000)",
    "many unions": " union all ".join(["select * from range(1000000)"] * 400),
}
HARMLESS = {
    "a path in a text": "select '<outside>/canary.txt' as path",
    "a script in a text": "select question from problems where question like '<script>%'",
    "names of columns": "from information_schema.columns",
    "names of tables": "from information_schema.tables",
    "tables by function": "from duckdb_tables()",
    "all of every view": "show all tables",
    "a plan": "explain select * from problems",
    "who am I": "select current_date, 1 as version",
    "a description": "describe problems",
    "another experiment by name": "select * from problems where experiment = 'other'",
    "every experiment": "select * from experiments",
    "every note": "select notes from stages",
    "a column of names": "select columns('.*') from problems",
    "a virtual column": "select count(*) from problems",
    "a subquery named like a table": "with problems as (select 1 as a) from problems",
    "a subquery that shades another": "with t as (select 1 as a) from (with t as (from t) from t)",
    "a subquery in every place": (
        "with t as (select 1 as a), u as (from t) select (select a from u), x.a from (from t) as x "
        "where exists (from u) union all select a, a from t order by (select max(a) from t)"
    ),
    "a subquery of a recursion": (
        "with recursive t as (with u as (select 2 as y) from u union all select t.y + 1 from t, u where t.y < 5) from t"
    ),
    "a pivoted subquery": "with t as (select 7 as q) (pivot t on q in (7) using count(*))",
    "a described subquery": "describe (with t as (select 1 as a) from t)",
    "an aggregate called histogram": "select histogram(question) from problems",
}
LIMITS = Limits(rows=1_000, answer_bytes=MIB, seconds=1.0, memory_bytes=256 * MIB)
GOOD = "select count(*) as n from problems"


def ask(arena: Arena, query: str, limits: Limits = LIMITS) -> str:
    """The answer as text; raises QueryRefused."""
    return run_query(arena.store, ["mine"], arena.fill(query), limits).model_dump_json()


def test_there_are_enough() -> None:
    assert len(REFUSED) + len(BOUNDED) + len(HARMLESS) >= 200


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_reading_of_the_views_is_refused(name: str, arena: Arena) -> None:
    before = arena.fingerprints()
    with pytest.raises(QueryRefused) as refused:
        ask(arena, REFUSED[name])
    told = refused.value.message
    assert SECRET not in told
    assert "needs more memory" not in told and "longer than" not in told, "refused before it ran, not while it ran"
    assert arena.fingerprints() == before


def test_no_subquery_may_be_named_like_a_view_that_duckdb_finds() -> None:
    with duckdb.connect(":memory:") as connection:
        views = connection.execute("select schema_name, view_name from duckdb_views() where internal").fetchall()
    found = {name for schema, name in views if schema != "information_schema"}
    assert {name for name in found if not name.startswith(DUCKDBS_OWN)} == set()


def test_no_listed_function_is_a_macro_over_tables() -> None:
    """Such a macro may hand its argument to query_table(), which reads any relation or file."""
    with duckdb.connect(":memory:") as connection:
        macros = connection.execute(
            "select function_name from duckdb_functions() "
            "where function_type = 'table_macro' or contains(lower(macro_definition), 'query')"
        ).fetchall()
    assert TABLE_FUNCTIONS.isdisjoint(name for (name,) in macros)
    assert FUNCTIONS.isdisjoint(name for (name,) in macros if name != "histogram"), "histogram is an aggregate too"


@pytest.mark.parametrize("name", BOUNDED)
def test_what_takes_too_much_is_bounded(name: str, arena: Arena) -> None:
    try:
        answer = ask(arena, BOUNDED[name])
    except QueryRefused as refused:
        assert re.search(
            r"needs more memory|took longer than|row is larger|^(Out of Range|Invalid Input) Error", str(refused)
        )
    else:
        assert len(answer) < 2 * MIB
    assert "[[6]]" in ask(arena, GOOD, Limits()), "a good query still works"


@pytest.mark.parametrize("name", HARMLESS)
def test_what_may_run_tells_nothing_of_other_experiments_or_files(name: str, arena: Arena) -> None:
    before = arena.fingerprints()
    answer = ask(arena, HARMLESS[name], Limits())
    assert SECRET not in answer
    assert "part-prepare" not in answer
    assert arena.fingerprints() == before
