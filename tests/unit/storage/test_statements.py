"""Values as SQL text, and statements that are prepared once. That PostgreSQL reads them back is tested with it."""

import pytest

from storage.statements import MAX_PREPARED, Collector, NotWritable, Prepared, json_lines, literals, storable


def test_quotes_cannot_end_a_text() -> None:
    assert literals(["O'Neill'; DROP TABLE users; --"]) == "'O''Neill''; DROP TABLE users; --'"
    assert literals([["a'b", 'say "hi"', "back\\slash"]]) == r"""'{"a''b","say \"hi\"","back\\slash"}'"""


def test_none_and_the_word_null_are_different_elements() -> None:
    assert literals([[None, "NULL", "null", ""]]) == """'{NULL,"NULL","null",""}'"""


def test_numbers_bytes_and_truth_have_their_own_forms() -> None:
    assert literals([-5]) == "-5"
    assert literals([True]) == "true"
    assert literals([None]) == "NULL"
    assert literals([False, 7, "a"]) == "false,7,'a'"
    assert literals([b"\x00\xff"]) == r"'\x00ff'"
    assert literals([[b"\x01", None]]) == r"""'{"\\x01",NULL}'"""
    assert literals([[(1, 2), ()]]) == """'{"{1,2}","{}"}'"""


def test_what_no_column_can_hold_is_refused() -> None:
    for value in ("nul\0", ["nul\0"], 1.5, {"a": 1}, [1.5]):
        with pytest.raises(NotWritable):
            literals([value])


def test_a_text_with_nul_becomes_storable() -> None:
    assert storable("a\0b") == "a\ufffdb"
    assert storable("plain") == "plain"


def test_json_with_a_raw_newline_is_refused() -> None:
    assert json_lines([b"{}", '{"a":"ü"}'.encode()]) == '{}\n{"a":"ü"}'
    with pytest.raises(NotWritable):
        json_lines([b"{}", b'{\n"a":1}'])


def test_a_statement_is_prepared_once() -> None:
    prepared = Prepared()
    first, second = Collector(prepared), Collector(prepared)
    first.execute("INSERT INTO t VALUES (%s, %s)", (1, "a"))
    first.execute("INSERT INTO t VALUES (%s, %s)", (2, "b"))
    second.execute("INSERT INTO t VALUES (%s, %s)", (3, "c"))
    assert first.text() == "PREPARE s0 AS INSERT INTO t VALUES ($1, $2);EXECUTE s0(1,'a');EXECUTE s0(2,'b');"
    assert second.text() == "EXECUTE s0(3,'c');"
    assert (first.count, second.count) == (2, 1)


def test_after_a_failure_all_is_prepared_anew() -> None:
    prepared = Prepared()
    Collector(prepared).execute("SELECT %s", (1,))
    prepared.forget()
    after = Collector(prepared)
    after.execute("SELECT %s", (1,))
    after.execute("DELETE FROM t")
    assert (
        after.text() == "DEALLOCATE ALL;PREPARE s0 AS SELECT $1;EXECUTE s0(1);PREPARE s1 AS DELETE FROM t;EXECUTE s1;"
    )


def test_the_number_of_prepared_statements_is_bounded() -> None:
    prepared = Prepared()
    collector = Collector(prepared)
    for number in range(MAX_PREPARED + 1):
        collector.execute(f"SELECT {number}")
    assert collector.text().count("DEALLOCATE ALL;") == 1
