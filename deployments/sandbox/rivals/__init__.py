"""The same load by what a clinic could take instead: a loop over a public client, a reverse-ETL sink."""
