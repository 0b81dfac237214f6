"""Files in and out: what a file is, which column means what, its rows as feedback; and rows as a file.

What it promises: whatever was recognised is said, with the reason, before it is acted on; a file is never held in memory,
however long it is; each row that is refused says why and can be mended; and what is sent can be broken off anywhere, and
gone on with. What it leaves to its caller: to whom rows are sent and in whose name, and to show what came of it.

In the order a file meets them: `look` is the way in, which asks `survey` (one pass: hash and evidence), `sniff` ●
(encoding, delimiter, header), `rows` and `xlsx` (rows of cells), `tools` ● (whose export it is, one file for each),
`columns` ● by `names` ● (which is which) and `dates` ● (whose order the whole column tells). `reading` judges row by row:
`shape` ● (a row as the body of `POST /v1/feedback`), `repeats` (its id stood there before). `sending` sends what is ready,
`checkpoint` knows how far it has come, and `refused` writes what was not taken. `exported` ● says what an export holds,
`written` writes it as CSV, JSONL or XLSX. `cells` ● is what stands in one cell.
"""
