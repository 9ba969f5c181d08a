"""Types that every other folder uses: errors, events, requests, principals."""
