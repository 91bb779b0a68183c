"""Live option Greeks from several brokers, durable in PostgreSQL within milliseconds.

A tick goes from left to right; a module imports only from its own package and those below:

    brokers/ > feeds/ > pipeline/ > postgres/, or spool/ while the database is away
    commands/   the command line            drill/        faults against a running service
    service     nests the nurseries         assembly      builds the parts
    api/        HTTP                        monitoring/   status, metrics, latency target
    config/     settings                    model/        records, contracts, units
    simulators/ both brokers, for tests, demo and drill
"""
