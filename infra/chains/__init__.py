"""The chains' windows: TronScan, TronGrid, tonapi and toncenter behind `models.payment_ports`."""
