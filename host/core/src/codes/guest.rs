codes! {
    GUEST_TRAP = "guest.trap", Internal;
        "The component trapped: it panicked, ran over its stack or did what Wasm forbids.";
        "Look in the service's log for the correlation id; the instance was thrown away.";
    GUEST_CPU = "guest.cpu-limit", Internal, SERVICE_UNAVAILABLE;
        "The component used more CPU time than limits.cpu-ms.";
        "Make the work smaller, move it to a job, or raise limits.cpu-ms.";
    GUEST_MEMORY = "guest.memory-limit", Internal, SERVICE_UNAVAILABLE;
        "The component needed more memory than limits.memory.";
        "Stream large data, or raise limits.memory.";
    GUEST_NO_RESPONSE = "guest.no-response", Internal, BAD_GATEWAY;
        "The component returned without a response.";
        "Answer `whole`, or start and finish the responder before answering `streamed`.";
    GUEST_OUTPUT = "guest.output-limit", Internal, BAD_GATEWAY;
        "The response is larger than limits.output.";
        "Page the answer, or raise limits.output.";
    GUEST_NO_REVISION = "guest.no-revision", Unavailable;
        "The service has no active revision on this node.";
        "Deploy it; `airhost status` shows what serves.";
    GUEST_NO_EXPORT = "guest.no-export", Unsupported;
        "The component does not export what the call needs.";
        "Export the interface that the message names.";
    GUEST_INIT = "guest.init", Invalid;
        "The component's `init` failed or used what is not there while a snapshot is made.";
        "Do in `init` only what does not depend on time, randomness, configuration or stores.";
}
