"""Parts of requests and responses that the APIs of several servers share."""
