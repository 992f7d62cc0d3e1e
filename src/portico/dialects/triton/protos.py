"""The messages of Triton's gRPC protocol, as far as they are used, and of gRPC's health and reflection protocols.

Sources: https://github.com/triton-inference-server/common/tree/main/protobuf (grpc_service.proto, model_config.proto)
and https://github.com/grpc/grpc/tree/master/src/proto/grpc (health/v1, reflection/v1). Only numbers and types are on
the wire; messages that the originals nest in others stand by themselves here.
"""

INFERENCE_SERVICE = "inference.GRPCInferenceService"
HEALTH_SERVICE = "grpc.health.v1.Health"
REFLECTION_SERVICE = "grpc.reflection.v1.ServerReflection"
# What clients ask that do not know the first version yet; the messages are the same.
OLDER_REFLECTION_SERVICE = "grpc.reflection.v1alpha.ServerReflection"

_REFLECTION = """
    message ServerReflectionRequest { string host = 1; oneof string file_by_filename = 3;
        oneof string file_containing_symbol = 4; oneof ExtensionRequest file_containing_extension = 5;
        oneof string all_extension_numbers_of_type = 6; oneof string list_services = 7; }
    message ExtensionRequest { string containing_type = 1; int32 extension_number = 2; }
    message ServerReflectionResponse { string valid_host = 1; ServerReflectionRequest original_request = 2;
        oneof FileDescriptorResponse file_descriptor_response = 4;
        oneof ListServiceResponse list_services_response = 6; oneof ErrorResponse error_response = 7; }
    message FileDescriptorResponse { repeated bytes file_descriptor_proto = 1; }
    message ListServiceResponse { repeated ServiceResponse service = 1; }
    message ServiceResponse { string name = 1; }
    message ErrorResponse { int32 error_code = 1; string error_message = 2; }
    service ServerReflection {
        ServerReflectionInfo (stream ServerReflectionRequest) (stream ServerReflectionResponse); }
"""

# By the name of each package: declarations, fields in the words of the proto language and methods without `rpc`.
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
        message ModelRepositoryParameter { oneof bool bool_param = 1; oneof int64 int64_param = 2;
            oneof string string_param = 3; oneof bytes bytes_param = 4; }
        message RepositoryModelLoadRequest { string repository_name = 1; string model_name = 2;
            map ModelRepositoryParameter parameters = 3; }
        message RepositoryModelLoadResponse { }
        message RepositoryModelUnloadRequest { string repository_name = 1; string model_name = 2;
            map ModelRepositoryParameter parameters = 3; }
        message RepositoryModelUnloadResponse { }
        message SystemSharedMemoryStatusRequest { string name = 1; }
        message SystemSharedMemoryStatusResponse { }
        message SystemSharedMemoryRegisterRequest { string name = 1; string key = 2; uint64 offset = 3;
            uint64 byte_size = 4; }
        message SystemSharedMemoryRegisterResponse { }
        message SystemSharedMemoryUnregisterRequest { string name = 1; }
        message SystemSharedMemoryUnregisterResponse { }
        message CudaSharedMemoryStatusRequest { string name = 1; }
        message CudaSharedMemoryStatusResponse { }
        message CudaSharedMemoryRegisterRequest { string name = 1; bytes raw_handle = 2; int64 device_id = 3;
            uint64 byte_size = 4; }
        message CudaSharedMemoryRegisterResponse { }
        message CudaSharedMemoryUnregisterRequest { string name = 1; }
        message CudaSharedMemoryUnregisterResponse { }
        message TraceSettingRequest { map TraceSettingValue settings = 1; string model_name = 2; }
        message TraceSettingValue { repeated string value = 1; }
        message TraceSettingResponse { map TraceSettingValue settings = 1; }
        message LogSettingsRequest { map LogSettingValue settings = 1; }
        message LogSettingValue { oneof bool bool_param = 1; oneof uint32 uint32_param = 2;
            oneof string string_param = 3; }
        message LogSettingsResponse { map LogSettingValue settings = 1; }
        service GRPCInferenceService {
            ServerLive (ServerLiveRequest) (ServerLiveResponse);
            ServerReady (ServerReadyRequest) (ServerReadyResponse);
            ModelReady (ModelReadyRequest) (ModelReadyResponse);
            ServerMetadata (ServerMetadataRequest) (ServerMetadataResponse);
            ModelMetadata (ModelMetadataRequest) (ModelMetadataResponse);
            ModelInfer (ModelInferRequest) (ModelInferResponse);
            ModelStreamInfer (stream ModelInferRequest) (stream ModelStreamInferResponse);
            ModelConfig (ModelConfigRequest) (ModelConfigResponse);
            ModelStatistics (ModelStatisticsRequest) (ModelStatisticsResponse);
            RepositoryIndex (RepositoryIndexRequest) (RepositoryIndexResponse);
            RepositoryModelLoad (RepositoryModelLoadRequest) (RepositoryModelLoadResponse);
            RepositoryModelUnload (RepositoryModelUnloadRequest) (RepositoryModelUnloadResponse);
            SystemSharedMemoryStatus (SystemSharedMemoryStatusRequest) (SystemSharedMemoryStatusResponse);
            SystemSharedMemoryRegister (SystemSharedMemoryRegisterRequest) (SystemSharedMemoryRegisterResponse);
            SystemSharedMemoryUnregister (SystemSharedMemoryUnregisterRequest) (SystemSharedMemoryUnregisterResponse);
            CudaSharedMemoryStatus (CudaSharedMemoryStatusRequest) (CudaSharedMemoryStatusResponse);
            CudaSharedMemoryRegister (CudaSharedMemoryRegisterRequest) (CudaSharedMemoryRegisterResponse);
            CudaSharedMemoryUnregister (CudaSharedMemoryUnregisterRequest) (CudaSharedMemoryUnregisterResponse);
            TraceSetting (TraceSettingRequest) (TraceSettingResponse);
            LogSettings (LogSettingsRequest) (LogSettingsResponse);
        }
    """,
    "grpc.health.v1": """
        enum ServingStatus { UNKNOWN = 0; SERVING = 1; NOT_SERVING = 2; SERVICE_UNKNOWN = 3; }
        message HealthCheckRequest { string service = 1; }
        message HealthCheckResponse { ServingStatus status = 1; }
        service Health {
            Check (HealthCheckRequest) (HealthCheckResponse);
            Watch (HealthCheckRequest) (stream HealthCheckResponse);
        }
    """,
    "grpc.reflection.v1": _REFLECTION,
    "grpc.reflection.v1alpha": _REFLECTION,
}
