from infra.chains.settings import ChainSettings


def test_keys_are_read_under_their_makers_names_and_never_printed(monkeypatch):
    names = ("TRONSCAN_API_KEY", "TRONGRID_API_KEY", "TON_API_KEY", "TONCENTER_API_KEY")
    for name in names:
        monkeypatch.setenv(name, f"secret-of-{name}")
    settings = ChainSettings()
    keys = [settings.tronscan_key, settings.trongrid_key, settings.tonapi_key, settings.toncenter_key]
    assert [key.get_secret_value() for key in keys if key] == [f"secret-of-{name}" for name in names]
    assert "secret-of" not in repr(settings) + str(settings) + settings.model_dump_json()


def test_without_keys_everything_is_asked_anonymously(monkeypatch):
    for name in ("TRONSCAN_API_KEY", "TRONGRID_API_KEY", "TON_API_KEY", "TONCENTER_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    assert ChainSettings().tonapi_key is None


def test_a_single_network_is_named_by_the_url_alone(monkeypatch):
    monkeypatch.setenv("X0_TRONGRID_URL", "https://nile.example")
    assert ChainSettings().trongrid_url == "https://nile.example"
