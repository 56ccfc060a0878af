"""The command line: each command turns its flags into calls of the other packages, which do the work.

main.py      the group of all commands; it imports a command only when that command is used
options.py   options that several commands share
run.py       bench run
report.py    bench table, plot, audit, leaderboard, results
data.py      bench data, new-dataset
method.py    bench new-method, check
submit.py    bench results pack, import
"""
