// A request's body: it is refused with 400, or it is sticky parameters whose stored text stands for the same parameters for ever.
// Two bodies with a line feed between them: the second is merged into what the first has asked for.
#include "core/sessions/filter.hpp"
#include "fuzz.hpp"
#include "matrix_sync/error.hpp"

using namespace matrix_sync;

namespace {

void check(const Filter& filter) {
    require(Filter(Json::parse(filter.text())).text() == filter.text(), "the stored parameters are read otherwise");
    require(filter.merged(Json::object()).text() == filter.text(), "an empty body changes something");
    PagesAsked none;
    require(asks_the_same(filter, filter, none), "a filter asks otherwise than itself");
}

Json body_of(std::string_view text) {
    Json body = parse_body(text);
    take_pages(body);
    return body;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    std::string_view text(reinterpret_cast<const char*>(data), size);
    const std::size_t first = std::min(text.find('\n'), text.size());
    try {
        Filter filter(body_of(text.substr(0, first)));
        check(filter);
        if (first == text.size()) return 0;
        check(filter.merged(body_of(text.substr(first + 1))));
    } catch (const MatrixError& error) {
        require(error.status == 400, "a body is refused otherwise than with 400");
    }
    return 0;
}
