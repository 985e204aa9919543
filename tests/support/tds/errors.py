"""The errors SQL Server answers with, by their numbers."""


class SqlError(Exception):
    """An error token: SQL Server's number, its text and its severity."""

    def __init__(self, number: int, text: str, severity: int = 16) -> None:
        super().__init__(text)
        self.number = number
        self.severity = severity

    @property
    def text(self) -> str:
        return str(self.args[0])

    @classmethod
    def login_failed(cls, user: str) -> "SqlError":
        return cls(18456, f"Login failed for user '{user}'.", 14)

    @classmethod
    def no_database(cls, name: str) -> "SqlError":
        return cls(4060, f'Cannot open database "{name}" requested by the login. The login failed.', 11)

    @classmethod
    def no_object(cls, name: str) -> "SqlError":
        return cls(208, f"Invalid object name '{name}'.")

    @classmethod
    def no_column(cls, name: str) -> "SqlError":
        return cls(207, f"Invalid column name '{name}'.")

    @classmethod
    def syntax(cls, near: str) -> "SqlError":
        return cls(102, f"Incorrect syntax near '{near}'.", 15)

    @classmethod
    def denied(cls, action: str, database: str) -> "SqlError":
        return cls(
            229, f"The {action} permission was denied on the object, database '{database}', schema 'dbo'.", 14
        )
