"""The relay beside its peers and the limit, in one run: `python -m bench`.

Floors, lowest first: wire, processes and yardstick; upstream and readers (processes of their own); servers; scenarios;
report.
"""
