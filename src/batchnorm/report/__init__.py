"""Records in, figures, tables and verdicts out; imports neither torch nor Hydra.

Figure 1(a): mnist.py, its table mnist_table.py; 1(b) and (c): mnist_percentiles.py; 2: figures.py;
3: tables.py; 4: ensemble.py (5: scripts/figure_5.py). The other studies: studies*.py.
Which experiment makes what: EXPERIMENTS and TABLES of build.py. What a claim's rule is: claims*.py;
its verdict: verdicts.py. page/ draws the same points with Plotly.
"""
