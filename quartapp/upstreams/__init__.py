"""The servers that models run on: a folder for each API they offer. The only folder that knows the official client."""
