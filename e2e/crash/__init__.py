"""Kills under load, and an oracle that is apart from the server in language and connection.

`python -m crash --cycles N --seed S [--minutes M]`, or `cargo xtask crash`. The last line is
`lost 0, duplicated 0` when it holds, and the exit status is 0 only then.
"""
