"""The relay beside its peers and the limit, in one run: `python -m bench`.

Floors, lowest first: wire and processes; upstream and clients (processes of their own); servers; scenarios;
report.
"""
