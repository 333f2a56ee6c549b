// Walks JSON text that a parser has accepted already, without building anything: values come as slices of that text. One pass over the
// bytes however deep a reader looks, and no recursion over what it skips.
//
// Text that no parser has accepted does no harm either: a JsonError at worst.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

#include "core/json/text.hpp"

namespace matrix_sync {

/// Text that is not JSON, or not the JSON that was expected.
class JsonError : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

enum class JsonKind { object, array, string, number, boolean, null };

class JsonCursor {
  public:
    explicit JsonCursor(std::string_view json) : at_(json.data()), end_(json.data() + json.size()) { skip_space(); }

    /// Of the value the cursor stands before.
    JsonKind kind() const;
    /// Where the cursor stands; where the value taken last ended; within object(), before anything is taken, where the member's name
    /// begins.
    const char* position() const { return at_; }
    const char* value_end() const { return value_end_; }
    const char* name_position() const { return name_; }

    /// Each of these takes one value and stands behind it. Throws JsonError, naming `what`, when the value is of another kind.
    std::string_view skip();
    std::string_view slice(JsonKind expected, const char* what);
    std::string string(const char* what);
    /// A string as storable_text() has it.
    std::string text(const char* what);
    bool boolean(const char* what);
    /// Calls each(name, cursor) before each member's value; it need not take it. `name` lives as long as the call.
    template <class Each>
    void object(const char* what, Each&& each);
    /// Calls each(cursor) before each element; it need not take it.
    template <class Each>
    void array(const char* what, Each&& each);

  private:
    friend class JsonMembers;
    friend class JsonElements;

    [[noreturn]] void unexpected() const;
    char peek() const {
        if (at_ == end_) unexpected();
        return *at_;
    }
    void take(char expected) {
        if (peek() != expected) unexpected();
        ++at_;
        skip_space();
    }
    bool take_if(char expected) {
        if (peek() != expected) return false;
        take(expected);
        return true;
    }
    void skip_space() {
        while (at_ != end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\r' || *at_ == '\t')) ++at_;
    }
    void value_ends_here() {
        value_end_ = at_;
        skip_space();
    }
    void close(char bracket) {
        if (peek() != bracket) unexpected();
        ++at_;
        value_ends_here();
    }
    void expect(JsonKind expected, const char* what) const;
    std::string_view string_token();
    void skip_container();
    void skip_word();

    const char* at_;
    const char* end_;
    const char* value_end_ = nullptr;
    const char* name_ = nullptr;
};

/// What an array or an object holds, one by one: what JsonCursor's array() and object() do, for whoever has to pause in between.
class JsonElements {
  public:
    JsonElements(JsonCursor& cursor, const char* what) : JsonElements(cursor, what, JsonKind::array, '[', ']') {}

    /// Goes on to the next value, whether the one before was taken or not. False when there is none: the cursor then stands behind it all.
    bool next() {
        const bool more = begun_ ? goes_on() : begins();
        if (!more) cursor_.close(close_);
        value_ = cursor_.at_;
        return more;
    }

  protected:
    JsonElements(JsonCursor& cursor, const char* what, JsonKind kind, char open, char close) : cursor_(cursor), open_(open), close_(close) {
        cursor.expect(kind, what);
    }

    JsonCursor& cursor_;
    const char* value_ = nullptr;

  private:
    bool begins() {
        begun_ = true;
        cursor_.take(open_);
        return cursor_.peek() != close_;
    }
    bool goes_on() {
        if (cursor_.at_ == value_) cursor_.skip();
        return cursor_.take_if(',');
    }

    char open_;
    char close_;
    bool begun_ = false;
};

class JsonMembers : public JsonElements {
  public:
    JsonMembers(JsonCursor& cursor, const char* what) : JsonElements(cursor, what, JsonKind::object, '{', '}') {}

    bool next() {
        if (!JsonElements::next()) return false;
        const char* begin = cursor_.at_;
        name_ = cursor_.string_token();
        cursor_.skip_space();
        if (name_.find('\\') != name_.npos) name_ = unescaped_ = unescape(name_);
        cursor_.take(':');
        cursor_.name_ = begin;
        value_ = cursor_.at_;
        return true;
    }
    /// Until the next one.
    std::string_view name() const { return name_; }

  private:
    std::string_view name_;
    std::string unescaped_;
};

template <class Each>
void JsonCursor::object(const char* what, Each&& each) {
    for (JsonMembers members(*this, what); members.next();) each(members.name(), *this);
}

template <class Each>
void JsonCursor::array(const char* what, Each&& each) {
    for (JsonElements elements(*this, what); elements.next();) each(*this);
}

}  // namespace matrix_sync
