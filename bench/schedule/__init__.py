"""Runs cells on processors: in this process, or in Ray's workers.

job.py       the input and the results of a run of many cells
process.py   sets up a process for cells: one thread, the right environment
signals.py   a request to stop: noted at once, obeyed where it is safe
pool.py      run_all: runs every cell and hands over one record for each
watch.py     watches a cell in this process, and ends it at its limits
driver.py    hands out cells to Ray's workers, receives their records, and ends cells at their limits
queue.py     the cells that wait for a worker
worker.py    the Ray actor that runs cells
cluster.py   starts or joins Ray, and removes all its processes afterwards
gpu.py       decides how many cells share a GPU
progress.py  what the user sees while cells run
"""
