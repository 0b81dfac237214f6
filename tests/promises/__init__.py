"""What we promise about hostile requests, each row by its number, on the process that users start.

`test_a_framing` to `test_h_at_rest` are the tables; `test_every_row` holds them to the list: a number that is neither a case
here, nor proved by a named test elsewhere, nor said not to be promised, fails.
"""
