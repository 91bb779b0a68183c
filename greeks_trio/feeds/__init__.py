"""The parts that every broker's feed shares: contract, websocket, health, supervision."""
