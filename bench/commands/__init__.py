"""The command line: flags <-> functions. Nothing else prints to the screen or exits.

main.py      the group: finds each command when it is asked for
options.py   what several commands share
run.py       bench run
report.py    bench table, plot, audit, leaderboard, results
data.py      bench data
method.py    bench new-method, check
"""
