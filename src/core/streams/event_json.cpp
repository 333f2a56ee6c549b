#include "core/streams/event_json.hpp"

#include "core/json/cursor.hpp"
#include "core/json/rewrite.hpp"
#include "core/json/writer.hpp"

namespace matrix_sync {

std::string with_transaction_id(std::string_view event, std::string_view transaction_id) {
    std::string member = "\"transaction_id\":";
    append_json_string(member, transaction_id);
    bool has_unsigned = false;
    std::string out;
    JsonCursor cursor(event);
    bool any = rewrite_object(cursor, "event", out, [&](std::string_view name, JsonCursor& value) -> Rewrite {
        if (name != "unsigned" || value.kind() != JsonKind::object || has_unsigned) return {};
        has_unsigned = true;
        std::string_view before = value.skip();
        std::string_view inside = before.substr(1);
        bool empty = inside.find_first_not_of(" \t\r\n") == inside.rfind('}');
        return {Rewrite::replace, "{" + member + (empty ? "" : ",") + std::string(inside)};
    });
    if (!has_unsigned) {
        out.erase(out.rfind('}'));
        out += (any ? ",\"unsigned\":{" : "\"unsigned\":{") + member + "}}";
    }
    return out;
}

std::string without_redaction(const std::string& event) {
    if (event.find("redacted_because") == event.npos) return event;
    std::string out;
    JsonCursor cursor(event);
    rewrite_object(cursor, "event", out, [](std::string_view name, JsonCursor& value) -> Rewrite {
        if (name != "unsigned" || value.kind() != JsonKind::object) return {};
        Rewrite kept{Rewrite::replace};
        const bool any = rewrite_object(value, "unsigned", kept.json, [](std::string_view inner, JsonCursor&) -> Rewrite {
            return {inner == "redacted_because" ? Rewrite::drop : Rewrite::keep};
        });
        if (!any) return {Rewrite::drop};
        return kept;
    });
    return out;
}

}  // namespace matrix_sync
