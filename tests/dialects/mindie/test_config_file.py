"""What is taken over from MindIE's config.json, and what is remarked upon."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from portico.dialects.mindie.config_file import FoundSettings, MindieConfigError, read_mindie_config

# The sections and fields of the file that MindIE-LLM 3.0 comes with.
CONFIG: dict[str, Any] = {
    "Version": "1.0.0",
    "ServerConfig": {
        "ipAddress": "127.0.0.1",
        "managementIpAddress": "127.0.0.2",
        "port": 1025,
        "managementPort": 1026,
        "metricsPort": 1027,
        "allowAllZeroIpListening": False,
        "maxLinkNum": 1000,
        "httpsEnabled": False,
        "fullTextEnabled": False,
        "tlsCaPath": "security/ca/",
        "tlsCaFile": ["ca.pem"],
        "tlsCert": "security/certs/server.pem",
        "tlsPk": "security/keys/server.key.pem",
        "tlsPkPwd": "security/pass/key_pwd.txt",
        "tlsCrlPath": "security/certs/",
        "tlsCrlFiles": ["server_crl.pem"],
        "managementTlsCert": "security/certs/management/server.pem",
        "inferMode": "standard",
        "interCommTLSEnabled": True,
        "interCommPort": 1121,
        "interCommTlsCaPath": "security/grpc/ca/",
        "interCommPk": "security/grpc/keys/server.key.pem",
        "openAiSupport": "vllm",
        "tokenTimeout": 600,
        "e2eTimeout": 600,
        "distDPServerEnabled": False,
        "layerwiseDisaggregated": False,
        "layerwiseDisaggregatedRoleType": "",
        "layerwiseDisaggregatedMasterIpAddress": "127.0.0.3",
        "HealthCheckConfig": {"npuUsageThreshold": 0},
    },
    "BackendConfig": {
        "backendName": "mindieservice_llm_engine",
        "modelInstanceNumber": 1,
        "npuDeviceIds": [[0, 1, 2, 3]],
        "tokenizerProcessNumber": 8,
        "multiNodesInferEnabled": False,
        "multiNodesInferPort": 1120,
        "interNodeTLSEnabled": True,
        "interNodeTlsCert": "security/grpc/certs/server.pem",
        "kvPoolConfig": {"backend": "", "configPath": ""},
        "ModelDeployConfig": {
            "maxSeqLen": 2048,
            "maxInputTokenLen": 4096,
            "truncation": False,
            "ModelConfig": [
                {
                    "modelInstanceType": "Standard",
                    "modelName": "llama_65b",
                    "modelWeightPath": "/data/atb_testdata/weights/llama1-65b-safetensors",
                    "worldSize": 4,
                    "cpuMemSize": 5,
                    "npuMemSize": -1,
                    "backendType": "atb",
                    "trustRemoteCode": False,
                    "async_scheduler_wait_time": 120,
                    "kv_trans_timeout": 10,
                    "kv_link_timeout": 1080,
                    "models": {"layerwiseDisaggregatedMasterDeviceNum": 2},
                },
                {"modelName": "another"},
            ],
        },
        "ScheduleConfig": {
            "templateType": "Standard",
            "cacheBlockSize": 128,
            "maxPrefillBatchSize": 50,
            "maxPrefillTokens": 8192,
            "maxBatchSize": 200,
            "maxIterTimes": 512,
            "prefillPolicyType": 0,
        },
    },
    "LogConfig": {"dynamicLogLevel": "", "dynamicLogLevelValidHours": 2},
    "EnableDynamicAdjustTimeoutConfig": False,
}


def read(folder: Path, **changes: Any) -> FoundSettings:
    """Reads the file with fields of its server section changed; None leaves one out."""
    server = {**CONFIG["ServerConfig"], **changes}
    path = folder / "conf" / "config.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({**CONFIG, "ServerConfig": server}), encoding="utf-8")
    return read_mindie_config(path)


def test_what_is_taken_over(tmp_path: Path) -> None:
    assert read(tmp_path).settings == {
        "profile": "mindie",
        "host": "127.0.0.1",
        "port": 1025,
        "management_host": "127.0.0.2",
        "management_port": [1026, 1027],
        "grpc_port": 0,
        "max_total_tokens": 2048,
        "max_input_tokens": 2047,
        "max_num_seqs": 200,
        "max_waiting": 2800,
        "max_num_batched_tokens": 8192,
        "block_size": 128,
        "max_choices": 128,
        "request_timeout": 600.0,
        "stall_timeout": 600.0,
        "max_body_size": 40 * 2**20,
        "model": "/data/atb_testdata/weights/llama1-65b-safetensors",
        "served_model_name": ["llama_65b"],
    }


def test_encrypted_connections(tmp_path: Path) -> None:
    settings = read(tmp_path, httpsEnabled=True).settings
    assert settings["tls_certificate"] == str(tmp_path / "security/certs/server.pem")
    assert settings["tls_key"] == str(tmp_path / "security/keys/server.key.pem")
    assert settings["tls_client_ca"] == str(tmp_path / "security/ca/ca.pem")
    with pytest.raises(MindieConfigError, match="tlsCert"):
        read(tmp_path, httpsEnabled=True, tlsCert="")


def test_every_other_field_is_remarked_upon(tmp_path: Path) -> None:
    remarks = "\n".join(read(tmp_path, fullTextEnabled=True, noSuchField=1).remarks)
    for part in (
        "ServerConfig.fullTextEnabled = true has no meaning here: streams carry what is new.",
        "ServerConfig.noSuchField = 1 has no meaning here: it is not known.",
        "ServerConfig.managementTlsCert",
        "ModelConfig[0].worldSize = 4",
        'ModelConfig[1].modelName = "another" has no meaning here: one model is served',
        "ScheduleConfig.maxIterTimes = 512",
    ):
        assert part in remarks
    # Fields whose values ask for nothing need no words.
    for part in ("inferMode", "openAiSupport", "modelInstanceNumber", "prefillPolicyType", "trustRemoteCode"):
        assert part not in remarks
    # All that the file of MindIE-LLM 3.0 has is known.
    assert remarks.count("it is not known") == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ipAddress": "0.0.0.0"}, "allowAllZeroIpListening"),
        ({"port": "1025"}, "ServerConfig.port in .* must be of type int, not '1025'"),
        ({"maxLinkNum": True}, "ServerConfig.maxLinkNum"),
    ],
)
def test_what_cannot_be_used(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(MindieConfigError, match=words):
        read(tmp_path, **changes)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(MindieConfigError, match="cannot read"):
        read_mindie_config(tmp_path / "none.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(MindieConfigError, match="JSON object"):
        read_mindie_config(tmp_path / "list.json")
    (tmp_path / "empty.json").write_text('{"ServerConfig":{"httpsEnabled":false}}')
    with pytest.raises(MindieConfigError, match="names no model"):
        read_mindie_config(tmp_path / "empty.json")
