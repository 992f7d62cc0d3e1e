"""The messages of Triton's gRPC protocol, as far as they are used, and of gRPC's health protocol.

Sources: https://github.com/triton-inference-server/common/tree/main/protobuf (grpc_service.proto, model_config.proto)
and https://github.com/grpc/grpc/blob/master/src/proto/grpc/health/v1/health.proto. Only numbers and types are on the
wire; messages that the originals nest in others stand by themselves here.
"""

INFERENCE_SERVICE = "inference.GRPCInferenceService"
HEALTH_SERVICE = "grpc.health.v1.Health"

# By the name of each package: a declaration per line, and fields in the words of the proto language.
PROTOS = {
    "inference": """
        enum DataType { TYPE_INVALID = 0; TYPE_BOOL = 1; TYPE_UINT32 = 4; TYPE_FP32 = 11; TYPE_STRING = 13; }
        enum Kind { KIND_AUTO = 0; KIND_GPU = 1; KIND_CPU = 2; KIND_MODEL = 3; }
        enum Format { FORMAT_NONE = 0; FORMAT_NHWC = 1; FORMAT_NCHW = 2; }
        message ServerLiveRequest { }
        message ServerLiveResponse { bool live = 1; }
        message ServerReadyRequest { }
        message ServerReadyResponse { bool ready = 1; }
        message ModelReadyRequest { string name = 1; string version = 2; }
        message ModelReadyResponse { bool ready = 1; }
        message ServerMetadataRequest { }
        message ServerMetadataResponse { string name = 1; string version = 2; repeated string extensions = 3; }
        message ModelMetadataRequest { string name = 1; string version = 2; }
        message TensorMetadata { string name = 1; string datatype = 2; repeated int64 shape = 3; }
        message ModelMetadataResponse { string name = 1; repeated string versions = 2; string platform = 3;
            repeated TensorMetadata inputs = 4; repeated TensorMetadata outputs = 5; }
        message InferParameter { oneof bool bool_param = 1; oneof int64 int64_param = 2; oneof string string_param = 3;
            oneof double double_param = 4; oneof uint64 uint64_param = 5; }
        message InferTensorContents { repeated bool bool_contents = 1; repeated int32 int_contents = 2;
            repeated int64 int64_contents = 3; repeated uint32 uint_contents = 4; repeated uint64 uint64_contents = 5;
            repeated float fp32_contents = 6; repeated double fp64_contents = 7; repeated bytes bytes_contents = 8; }
        message InferInputTensor { string name = 1; string datatype = 2; repeated int64 shape = 3;
            map InferParameter parameters = 4; InferTensorContents contents = 5; }
        message InferRequestedOutputTensor { string name = 1; map InferParameter parameters = 2; }
        message ModelInferRequest { string model_name = 1; string model_version = 2; string id = 3;
            map InferParameter parameters = 4; repeated InferInputTensor inputs = 5;
            repeated InferRequestedOutputTensor outputs = 6; repeated bytes raw_input_contents = 7; }
        message InferOutputTensor { string name = 1; string datatype = 2; repeated int64 shape = 3; }
        message ModelInferResponse { string model_name = 1; string model_version = 2; string id = 3;
            map InferParameter parameters = 4; repeated InferOutputTensor outputs = 5;
            repeated bytes raw_output_contents = 6; }
        message ModelStreamInferResponse { string error_message = 1; ModelInferResponse infer_response = 2; }
        message ModelConfigRequest { string name = 1; string version = 2; }
        message ModelConfigResponse { ModelConfig config = 1; }
        message ModelStatisticsRequest { string name = 1; string version = 2; }
        message ModelStatisticsResponse { repeated ModelStatistics model_stats = 1; }
        message RepositoryIndexRequest { string repository_name = 1; bool ready = 2; }
        message RepositoryIndexResponse { repeated ModelIndex models = 1; }
        message ModelIndex { string name = 1; string version = 2; string state = 3; string reason = 4; }
        message StatisticDuration { uint64 count = 1; uint64 ns = 2; }
        message InferStatistics { StatisticDuration success = 1; StatisticDuration fail = 2;
            StatisticDuration queue = 3; StatisticDuration compute_input = 4; StatisticDuration compute_infer = 5;
            StatisticDuration compute_output = 6; StatisticDuration cache_hit = 7; StatisticDuration cache_miss = 8; }
        message ModelStatistics { string name = 1; string version = 2; uint64 last_inference = 3;
            uint64 inference_count = 4; uint64 execution_count = 5; InferStatistics inference_stats = 6; }
        message Latest { uint32 num_versions = 1; }
        message ModelVersionPolicy { oneof Latest latest = 1; }
        message ModelTransactionPolicy { bool decoupled = 1; }
        message ModelParameter { string string_value = 1; }
        message ModelInput { string name = 1; DataType data_type = 2; Format format = 3; repeated int64 dims = 4;
            bool is_shape_tensor = 6; bool allow_ragged_batch = 7; bool optional = 8;
            bool is_non_linear_format_io = 9; }
        message ModelOutput { string name = 1; DataType data_type = 2; repeated int64 dims = 3;
            string label_filename = 4; bool is_shape_tensor = 6; bool is_non_linear_format_io = 7; }
        message ModelInstanceGroup { string name = 1; int32 count = 2; repeated int32 gpus = 3; Kind kind = 4;
            repeated string profile = 5; bool passive = 7; string host_policy = 9; }
        message ModelConfig { string name = 1; string platform = 2; ModelVersionPolicy version_policy = 3;
            int32 max_batch_size = 4; repeated ModelInput input = 5; repeated ModelOutput output = 6;
            repeated ModelInstanceGroup instance_group = 7; string default_model_filename = 8;
            map ModelParameter parameters = 14; string backend = 17;
            ModelTransactionPolicy model_transaction_policy = 19; }
    """,
    "grpc.health.v1": """
        enum ServingStatus { UNKNOWN = 0; SERVING = 1; NOT_SERVING = 2; SERVICE_UNKNOWN = 3; }
        message HealthCheckRequest { string service = 1; }
        message HealthCheckResponse { ServingStatus status = 1; }
    """,
}
