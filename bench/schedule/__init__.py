"""Cells onto processors: in this process, or on Ray's workers.

job.py       what a run is told, and what comes of it
process.py   a process set up for cells: one thread, the right environment
signals.py   a request to stop, noted at once and acted on where it is safe
pool.py      run_all: every cell, one record each
driver.py    hands out cells to Ray's workers and takes in records
cluster.py   Ray itself: started or joined, and gone afterwards
gpu.py       how many cells share a GPU
progress.py  what a user sees meanwhile
"""
