"""Kills under load, and an oracle that is apart from the server in language and connection.

`python -m crash --cycles N --seed S [--minutes M] [--state FILE]`, or `cargo xtask crash`. A run is cut
into legs, each with a server, a load and a verdict of its own; what is judged already stands in the
state file, and the next run goes on from there. The last line is `lost 0, duplicated 0` when it holds,
and the exit status is 0 only then.
"""
